"""What the command line says when it cannot go on: one line, and an exit code that tells why."""

from __future__ import annotations

import os
from enum import IntEnum
from typing import TextIO


class ExitCode(IntEnum):
    """What the caller can tell from the exit code."""

    OK = 0
    NEGATIVE = 1
    """The answer is no: a command was rejected, or what was asked for does not exist."""
    USAGE = 2
    """The command line, or a command on it, is wrong; nothing was sent."""
    ENVIRONMENT = 3
    """A setting, a resource or AWS itself is missing or does not answer."""
    TIMEOUT = 4
    """No answer in the time given."""
    UNFORESEEN = 70
    """A mistake of this program (EX_SOFTWARE of sysexits.h)."""
    INTERRUPTED = 130
    """Ctrl-C before the work was done."""


class CliError(Exception):
    """Ends the program with one line for a person: what is wrong, and what to do."""

    def __init__(
        self, problem: str, advice: str = "", code: ExitCode = ExitCode.ENVIRONMENT
    ) -> None:
        super().__init__(f"{problem}; {advice}" if advice else problem)
        self.problem = problem
        self.advice = advice
        self.code = code


class UsageError(CliError):
    """What was typed is wrong."""

    def __init__(self, problem: str, advice: str = "") -> None:
        super().__init__(problem, advice, ExitCode.USAGE)


def say(error: CliError | str, stream: TextIO) -> None:
    """Write what is wrong, on one line."""
    stream.write(f"error: {' '.join(str(error).split())}\n")
    stream.flush()


def region() -> str:
    """Give the region that is asked for, as the environment names it."""
    return os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION") or "the default"


def missing(what: str, variable: str = "the setting that names it") -> CliError:
    """Say that a resource does not exist, and how to make it where `provision` may."""
    place = f"region {region()}"
    if endpoint := os.environ.get("AWS_ENDPOINT_URL"):
        place += f" at {endpoint}"
    advice = f"correct {variable} or the region"
    if os.environ.get("USER_WORKER_ENV") == "prod":
        advice += ", or deploy what makes it"
    else:
        advice = f"create it with `user-worker provision`, or {advice}"
    return CliError(f"no {what} in {place}", advice)


def no_region() -> CliError:
    """Say that the region is not known."""
    advice = "set AWS_DEFAULT_REGION; beside `user-worker dev`, paste the export line it prints"
    return CliError("no AWS region", advice)


def memory_needs_one_process() -> UsageError:
    """Say that users in memory cannot be shared."""
    return UsageError(
        "with USER_WORKER_REPOSITORY=memory each process has users of its own",
        "use --pool threads",
    )


def one_line(error: Exception) -> str:
    """Return an error's class and the first line of its text."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
