"""What the parts of a worker report about their own health."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

ENDED: Final = float("inf")
"""Age of a check that cannot pass again: its thread has ended."""
LONGEST_BATCH: Final = 600.0
"""Seconds after which a batch, or a pass of the relay, is considered stuck.

Longer than all its calls can take if each runs into its timeout: an unavailable AWS must not
cause a restart of the worker.
"""
STALLED_AFTER: Final = 60.0
"""Seconds with messages in progress and no acknowledgement after which a worker is not ready."""
RUNNING_BATCH: Final = "a batch has been running"
"""Name of the check for the oldest batch that has started and not ended."""


@dataclass(frozen=True, slots=True)
class LivenessCheck:
    """The time since an event that has to happen repeatedly."""

    what: str
    age: float
    """Seconds; `ENDED` if the event cannot happen again."""
    limit: float
    """Seconds above which the check fails."""

    @property
    def missing(self) -> bool:
        """Whether the event is overdue."""
        return self.age > self.limit

    def __str__(self) -> str:
        if self.age == ENDED:
            return f"{self.what} has ended"
        return f"{self.what} for {self.age:.0f} s (limit: {self.limit:.0f} s)"


class HealthSource(Protocol):
    """A part of the worker that reports its health, from any thread, without blocking."""

    def liveness_checks(self) -> Iterable[LivenessCheck]:
        """Return the liveness checks; only a restart repairs one that fails."""
        ...

    def readiness_issues(self) -> Iterable[str]:
        """Return why nothing can be processed now, one line each; a restart would not help."""
        ...
