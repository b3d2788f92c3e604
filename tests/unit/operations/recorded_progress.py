"""A progress that records what operations report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from operations.progress import Advance


class RecordedProgress:
    """Records reports."""

    def __init__(self) -> None:
        """Start without reports."""
        self.done: dict[str, int] = {}
        """Units by activity."""
        self.steps: dict[str, list[int]] = {}
        """Units that were done after each report, by activity."""
        self.totals: dict[str, int] = {}
        self.notes: list[str] = []

    @contextmanager
    def track(self, activity: str, total: int, unit: str) -> Iterator[Advance]:
        """Count the completed units."""
        self.done[activity], self.steps[activity], self.totals[activity] = 0, [], total

        def advance(more: int) -> None:
            self.done[activity] += more
            if more:
                self.steps[activity].append(self.done[activity])

        yield advance

    def note(self, text: str, *, warning: bool = False) -> None:
        """Record a note."""
        self.notes.append(text)
