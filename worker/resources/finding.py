"""The result of one check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from worker.cli_errors import explain
from worker.errors import CliError


class Level(StrEnum):
    """The severity of a finding."""

    OK = "ok"
    WARN = "warn"
    """Works, but perhaps not as intended."""
    FAIL = "fail"
    """Does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was checked, its state, and what to do."""

    check: str
    level: Level
    text: str
    advice: str = ""


def ok(check: str, text: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(check, Level.OK, text)


def warn(check: str, text: str, advice: str) -> Finding:
    """Return a finding that may be a problem."""
    return Finding(check, Level.WARN, text, advice)


def fail(check: str, text: str, advice: str) -> Finding:
    """Return a finding that is a problem."""
    return Finding(check, Level.FAIL, text, advice)


def error_finding(check: str, error: Exception) -> Finding:
    """Return the finding of an error, with the same message as in other commands."""
    explained = explain(error) or CliError(
        f"unexpected {type(error).__name__}", "run `user-worker --debug` for the traceback"
    )
    return fail(check, explained.problem, explained.advice)
