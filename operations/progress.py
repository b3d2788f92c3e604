"""How an operation reports its progress to the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], object]
"""Takes how many more units are done."""


class Progress(Protocol):
    """Receives reports while an operation is running."""

    def track(self, activity: str, total: int, unit: str) -> AbstractContextManager[Advance]:
        """Begin an activity of `total` units; the activity ends with the `with` block."""
        ...

    def note(self, text: str, *, warning: bool = False) -> None:
        """Report something that the operator should know while the work continues."""
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
