"""Errors that end the program with one line for an operator, and an exit code that tells why."""

from __future__ import annotations

import os
from enum import IntEnum
from typing import TextIO


class ExitCode(IntEnum):
    """Exit codes of the program."""

    OK = 0
    NEGATIVE = 1
    """Negative result: a command was rejected, or the requested item does not exist."""
    USAGE = 2
    """The command line, or a command on it, is invalid; nothing was sent."""
    ENVIRONMENT = 3
    """A setting, a resource or AWS itself is missing or unavailable."""
    TIMEOUT = 4
    """No answer within the given time."""
    UNFORESEEN = 70
    """A bug of this program (EX_SOFTWARE of sysexits.h)."""
    INTERRUPTED = 130
    """Ctrl-C before the work was complete."""


class CliError(Exception):
    """Ends the program with one line for an operator: what is wrong, and what to do."""

    def __init__(
        self, problem: str, advice: str = "", code: ExitCode = ExitCode.ENVIRONMENT
    ) -> None:
        super().__init__(f"{problem}; {advice}" if advice else problem)
        self.problem = problem
        self.advice = advice
        self.code = code


class UsageError(CliError):
    """The command line, or a command on it, is invalid."""

    def __init__(self, problem: str, advice: str = "") -> None:
        super().__init__(problem, advice, ExitCode.USAGE)


class SettingsError(CliError):
    """A setting is missing or invalid; the message is one line for an operator."""


def write_error(error: CliError | str, stream: TextIO) -> None:
    """Write an error on one line."""
    stream.write(f"error: {' '.join(str(error).split())}\n")
    stream.flush()


def one_line(error: Exception) -> str:
    """Return an error's class and the first line of its text."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def missing(what: str, variable: str = "the setting that names it") -> CliError:
    """Return the error of a resource that does not exist, with how to create it."""
    region = os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION") or "the default"
    place = f"region {region}"
    if endpoint := os.environ.get("AWS_ENDPOINT_URL"):
        place += f" at {endpoint}"
    advice = f"correct {variable} or the region"
    if os.environ.get("USER_WORKER_ENV") == "prod":
        advice += ", or deploy the resource"
    else:
        advice = f"create it with `user-worker provision`, or {advice}"
    return CliError(f"no {what} in {place}", advice)


def no_region() -> CliError:
    """Return the error of a missing region."""
    advice = "set AWS_DEFAULT_REGION; for `user-worker dev`, paste the export line that it prints"
    return CliError("no AWS region", advice)


def memory_needs_one_process() -> UsageError:
    """Return the error of a repository in memory with several processes."""
    return UsageError(
        "with USER_WORKER_REPOSITORY=memory each process has its own users", "use --pool threads"
    )
