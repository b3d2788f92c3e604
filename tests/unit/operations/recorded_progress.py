"""A progress that records what operations report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from operations.progress import Advance


class RecordedProgress:
    """Records reports."""

    def __init__(self) -> None:
        """Begin without any."""
        self.done: dict[str, int] = {}
        """Units by activity."""
        self.notes: list[str] = []

    @contextmanager
    def track(self, activity: str, total: int, unit: str) -> Iterator[Advance]:
        """Count what is done."""
        self.done[activity] = 0

        def advance(more: int) -> None:
            self.done[activity] += more

        yield advance

    def note(self, text: str, *, warning: bool = False) -> None:
        """Keep a text."""
        self.notes.append(text)
