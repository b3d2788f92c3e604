"""What ends a worker before it starts, said in the words of the command line."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

from worker.transport.port import one_line

LIST = ","

LACKS: Final = {
    errno.ENOSPC: "free space on the disk; the prefork pool's semaphores need /dev/shm",
    errno.EDQUOT: "free space, or raise the quota",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the machine's limit of open files",
    errno.EAGAIN: "raise the limit of processes and threads (ulimit -u, pids of the container)",
    errno.ENOMEM: "give it more memory, or start fewer children (--concurrency)",
    errno.EACCES: "let its user write there; the prefork pool's semaphores need /dev/shm",
    errno.EPERM: "let its user write there; the prefork pool's semaphores need /dev/shm",
    errno.EROFS: "make it writable, or name another place",
    errno.ENOENT: "create it; the prefork pool's semaphores need /dev/shm",
    errno.ENOSYS: "the prefork pool needs semaphores: mount /dev/shm, or use --pool threads",
}
"""What to do about an error of the operating system."""


def refuse(error: Exception) -> NoReturn:
    """End the process with one line, as `user-worker`'s other commands do, and their exit code.

    Nothing else would end it: what a handler of Celery's signals raises is logged and forgotten.

    Raises:
        SystemExit: always.
    """
    from worker.errors import CliError, ExitCode, say  # noqa: PLC0415 - only who ends needs it
    from worker.explaining import explain  # noqa: PLC0415 - as above

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
    except (OSError, RuntimeError, ImportError, MemoryError) as error:
        if not is_starting() or not (known := lack_of_the_system(error)):
            raise
        refuse(known)


def lack_of_the_system(error: BaseException) -> Exception | None:
    """Return an error's line for a person, if the operating system is what said no."""
    from worker.errors import CliError  # noqa: PLC0415 - only who ends needs it

    match error:
        case OSError(errno=int(number), strerror=str(reason)):
            place = f" ({error.filename})" if error.filename else ""
            return CliError(f"cannot start: {reason}{place}", LACKS.get(number, ""))
        case MemoryError():
            return CliError("cannot start: out of memory", LACKS[errno.ENOMEM])
        case RuntimeError() if "start new thread" in str(error):
            return CliError("cannot start: no more threads", LACKS[errno.EAGAIN])
        case ImportError() if "sem_open" in str(error):
            return CliError("cannot start: no semaphores", LACKS[errno.ENOSYS])
    return None


def will_last(error: Exception) -> bool:
    """Tell whether AWS would answer the same the next time, as to wrong credentials."""
    from worker.explaining import is_refusal  # noqa: PLC0415 - as above

    return is_refusal(error)


def chosen_queues(option: object) -> list[str]:
    """Give the names in Celery's `-Q` or `-X`, which it hands on as typed or split."""
    if isinstance(option, str):
        return [name.strip() for name in option.split(LIST) if name.strip()]
    return [str(name) for name in option] if isinstance(option, Collection) else []
