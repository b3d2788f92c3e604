"""What the parts of a worker tell of themselves, for its health."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

ENDED: Final = float("inf")
"""The age of a sign that will not come again: its thread has ended."""
LONGEST_BATCH: Final = 600.0
"""Seconds after which a batch, or a round of the relay, is taken to hang.

More than all its calls can take while each runs into its timeouts: whether AWS answers must not
decide whether a worker lives.
"""
STALLED_AFTER: Final = 60.0
"""Seconds with work in hand and nothing acknowledged, after which a worker is not ready."""
IN_HAND: Final = "a batch has been in hand"
"""The sign of the oldest batch that was started and has not ended."""


@dataclass(frozen=True, slots=True)
class LivenessCheck:
    """How long ago something was that has to happen again and again."""

    what: str
    age: float
    """Seconds; `ENDED` if it never will."""
    limit: float
    """Seconds from which on it is missing."""

    @property
    def missing(self) -> bool:
        """Whether it should have happened by now."""
        return self.age > self.limit

    def __str__(self) -> str:
        if self.age == ENDED:
            return f"{self.what} has ended"
        return f"{self.what} for {self.age:.0f} s, and {self.limit:.0f} is the limit"


class HealthSource(Protocol):
    """A part of the worker that can be asked how it is, from any thread, at once."""

    def liveness_checks(self) -> Iterable[LivenessCheck]:
        """Give its signs of life; those that are missing can only be mended by a restart."""
        ...

    def readiness_issues(self) -> Iterable[str]:
        """Say why it gets nothing done now, a line each; a restart would not mend it."""
        ...
