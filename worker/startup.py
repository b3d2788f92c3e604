"""What ends a worker before it starts, said in the words of the command line."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

from worker.errors import one_line

LIST = ","

SEMAPHORES: Final = (
    "the prefork pool's semaphores need a writable /dev/shm; --pool threads does not"
)
LACKS: Final = {
    errno.ENOSPC: f"free space on the disk; {SEMAPHORES}",
    errno.EDQUOT: "free space, or raise the quota",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the machine's limit of open files",
    errno.EAGAIN: "raise the limit of processes and threads (ulimit -u, pids of the container)",
    errno.ENOMEM: "give it more memory, or start fewer children (--concurrency)",
}
"""What to do about an error of the operating system, where that does not depend on a file."""


def exit_with_error(error: Exception) -> NoReturn:
    """End the process with one line, as `user-worker`'s other commands do, and their exit code.

    Nothing else would end it: what a handler of Celery's signals raises is logged and forgotten.

    Raises:
        SystemExit: always.
    """
    from worker.cli_errors import explain  # noqa: PLC0415 - as above
    from worker.errors import CliError, ExitCode, say  # noqa: PLC0415 - only who ends needs it

    known = explain(error) or CliError(one_line(error), code=ExitCode.UNFORESEEN)
    say(known, sys.__stderr__ or sys.stderr)  # Celery may have put its log in place of the other
    raise SystemExit(int(known.code)) from error


@contextmanager
def one_line_for_the_start(is_starting: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """End the process with one line, and no traceback, for what the machine lacks to start.

    Args:
        is_starting: whether an error still concerns the start; later ones are raised as they are.

    Raises:
        SystemExit: the system has no room, descriptors, threads, memory or semaphores left, or
            refuses a file.
    """
    try:
        yield
    except Exception as error:
        known = lack_of_the_system(error) if is_starting() else None
        if known is None:
            raise
        exit_with_error(known)


def lack_of_the_system(error: Exception) -> Exception | None:
    """Return an error's line for a person, if the operating system is what said no."""
    from celery.platforms import LockFailed  # noqa: PLC0415 - only who ends needs it

    from worker.errors import CliError  # noqa: PLC0415 - as above

    match error:
        case OSError(errno=int(number), strerror=str(reason)):
            at = f": {os.fsdecode(error.filename)}" if error.filename else ""
            elsewhere = "let its user write there, or name another place"
            return CliError(
                f"cannot start: {reason}{at}",
                LACKS.get(number) or (elsewhere if at else SEMAPHORES),
            )
        case LockFailed():
            return CliError(f"cannot write the pid file: {error}", "see --pidfile")
        case MemoryError():
            return CliError("cannot start: out of memory", LACKS[errno.ENOMEM])
        case RuntimeError() if "start new thread" in str(error):
            return CliError("cannot start: no more threads", LACKS[errno.EAGAIN])
        case ImportError() if "sem_open" in str(error):
            return CliError("cannot start: no semaphores", SEMAPHORES)
    return None


def is_permanent(error: Exception) -> bool:
    """Tell whether AWS would answer the same the next time, as to wrong credentials."""
    from worker.cli_errors import is_refusal  # noqa: PLC0415 - as above

    return is_refusal(error)


def chosen_queues(option: object) -> list[str]:
    """Give the names in Celery's `-Q` or `-X`, which it hands on as typed or split."""
    if isinstance(option, str):
        return [name.strip() for name in option.split(LIST) if name.strip()]
    return [str(name) for name in option] if isinstance(option, Collection) else []
