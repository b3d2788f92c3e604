"""The subscription of the live events, which exists while a page is open."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import pytest

from console import live
from console.live import LiveEvents
from tests.e2e.worker_process import eventually


class Tail:
    """A subscription that polls until it is closed; counts how often it was opened and closed."""

    def __init__(self) -> None:
        """Create it, closed."""
        self.opened = self.closed = 0
        self._gone = threading.Event()

    def __enter__(self) -> Self:
        """Open it."""
        self.opened += 1
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.closed += 1
        self._gone.set()

    def poll(self, wait: int = 20) -> list[Any]:
        """Wait for the end, as a long poll of an empty queue does."""
        assert not self._gone.wait(wait), "the queue is gone"
        return []

    def renew_if_lost(self) -> None:
        """Do nothing."""


@contextmanager
def watched(tail: Tail) -> Iterator[LiveEvents]:
    """Return events that a page watches."""
    events = LiveEvents(lambda: tail)  # type: ignore[arg-type,return-value]
    with events.watching():
        eventually(lambda: tail.opened)
        yield events


def test_a_console_that_ends_removes_the_subscription_at_once() -> None:
    """It does not wait for the long poll, and the receiving thread ends afterwards."""
    tail = Tail()
    with watched(tail) as events:
        eventually(lambda: events._tail is not None)
        events.close()
        assert tail.closed == 1
        eventually(lambda: not events._running, 5)


def test_without_a_page_nothing_is_removed_or_created() -> None:
    """The console was never opened."""
    tail = Tail()
    LiveEvents(lambda: tail).close()  # type: ignore[arg-type,return-value]
    assert (tail.opened, tail.closed) == (0, 0)


def test_the_subscription_ends_some_time_after_the_last_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reload within that time uses the same one."""
    monkeypatch.setattr(live, "CLOSE_AFTER", 0.0)
    monkeypatch.setattr(Tail, "poll", lambda *_: [])
    tail = Tail()
    with watched(tail), pytest.raises(AssertionError):
        eventually(lambda: tail.closed, 0.3)
    eventually(lambda: tail.closed)
    assert tail.opened == 1


def test_an_error_of_the_subscription_is_shown_and_the_next_page_tries_again() -> None:
    """No error ends the console."""
    tails = iter([OSError("no answer"), Tail()])

    def opened() -> Any:
        found = next(tails)
        if isinstance(found, Exception):
            raise found
        return found

    events = LiveEvents(opened)
    with events.watching():
        eventually(lambda: events.problem)
        eventually(lambda: not events._running)
    with events.watching():
        eventually(lambda: events.problem is None)
        events.close()
