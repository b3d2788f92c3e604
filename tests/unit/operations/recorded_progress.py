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
        self.notes: list[str] = []

    @contextmanager
    def track(self, activity: str, total: int, unit: str) -> Iterator[Advance]:
        """Count the completed units."""
        self.done[activity] = 0

        def advance(more: int) -> None:
            self.done[activity] += more

        yield advance

    def note(self, text: str, *, warning: bool = False) -> None:
        """Record a note."""
        self.notes.append(text)
