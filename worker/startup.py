"""What ends a worker before it starts, said in the words of the command line."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import NoReturn

from worker.transport.port import one_line

LIST = ","


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


def will_last(error: Exception) -> bool:
    """Tell whether AWS would answer the same the next time, as to wrong credentials."""
    from worker.explaining import is_refusal  # noqa: PLC0415 - as above

    return is_refusal(error)


def chosen_queues(option: object) -> list[str]:
    """Give the names in Celery's `-Q` or `-X`, which it hands on as typed or split."""
    if isinstance(option, str):
        return [name.strip() for name in option.split(LIST) if name.strip()]
    return [str(name) for name in option] if isinstance(option, Collection) else []
