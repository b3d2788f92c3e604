"""Run the command line. An error becomes one line and an exit code, never a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from worker.errors import CliError, ExitCode, write_error

PROGRAM = "user-worker"
DEBUG_VARIABLE = "USER_WORKER_DEBUG"


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code."""
    from cli.commands import app

    try:
        result = app(list(arguments), prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
        return int(result or ExitCode.OK)
    except BrokenPipeError:
        # The reader of our output closed the pipe; prevent an error message at interpreter exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except typer.TyperException as error:
        # no message: no command was given, and the help has been shown
        text = error.format_message().rstrip(".")
        return _complain(_with_advice(text, error), ExitCode.USAGE) if text else ExitCode.USAGE
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE, "0").lower() not in {"", "0", "false", "no", "off"}:
            raise
        from worker.cli_errors import explain

        known = explain(error) or CliError(
            f"unexpected {type(error).__name__}",
            f"for the traceback, use --debug before the command, or set {DEBUG_VARIABLE}=1",
            ExitCode.UNFORESEEN,
        )
        return _complain(str(known), known.code)


def _complain(text: str, code: int) -> int:
    from cli.output import stderr
    from operations.printable import printable

    line, console = printable(" ".join(text.split())), stderr()
    if console.soft_wrap:
        write_error(line, sys.stderr)
    else:  # broken between words
        console.print(f"error: {line}", markup=False)
    return code


def _with_advice(text: str, error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    advice = f"`{context.command_path if context else PROGRAM} --help`"
    return f"{text} See {advice}" if text.endswith("?") else f"{text}; see {advice}"
