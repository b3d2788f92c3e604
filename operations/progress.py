"""Report the progress of an operation to the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], object]
"""Receives the number of units done since the last call."""


class Progress(Protocol):
    """Receives progress reports while an operation is running."""

    def track(self, activity: str, total: int, unit: str) -> AbstractContextManager[Advance]:
        """Start an activity of `total` units; the activity ends with the `with` block."""
        ...

    def note(self, text: str, *, warning: bool = False) -> None:
        """Report information for the operator while the work continues."""
        ...


class NoProgress:
    """Ignores all reports."""

    @contextmanager
    def track(self, activity: str, total: int, unit: str) -> Iterator[Advance]:  # noqa: ARG002 - as Progress
        """Yield a function that does nothing."""
        yield lambda _more: None

    def note(self, text: str, *, warning: bool = False) -> None:
        """Do nothing."""


NO_PROGRESS: Progress = NoProgress()
