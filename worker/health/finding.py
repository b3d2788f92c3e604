"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from worker.cli_errors import explain
from worker.errors import CliError


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """It works, but perhaps not as meant."""
    FAIL = "fail"
    """It does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, and what to do."""

    check: str
    level: Level
    says: str
    advice: str = ""


def ok(check: str, says: str) -> Finding:
    """Say that it is as it should be."""
    return Finding(check, Level.OK, says)


def warn(check: str, says: str, advice: str) -> Finding:
    """Say that it may not be as meant."""
    return Finding(check, Level.WARN, says, advice)


def fail(check: str, says: str, advice: str) -> Finding:
    """Say that it does not work."""
    return Finding(check, Level.FAIL, says, advice)


def error_finding(check: str, error: Exception) -> Finding:
    """Say what an error means, in the words of the other commands."""
    known = explain(error) or CliError(f"unforeseen {type(error).__name__}", "see --debug")
    return fail(check, known.problem, known.advice)
