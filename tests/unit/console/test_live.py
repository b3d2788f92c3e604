"""The subscription of the live events, which exists while a page is open."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import pytest
from botocore.exceptions import ClientError

from application.backoff import Backoff
from console import live
from console.live import LiveEvents
from operations.received_event import ReceivedEvent
from tests.e2e.worker_process import eventually

ANYTHING = [
    OSError("no answer"),
    RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a proxy's page"),
    ClientError({"Error": {"Code": "AccessDenied"}}, "Subscribe"),
]
"""Errors that botocore raises."""


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


def polled(events: Callable[[], list[Any]]) -> Callable[..., list[Any]]:
    """Return a poll that takes a moment."""

    def poll(*_: object) -> list[Any]:
        time.sleep(0.01)
        return events()

    return poll


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
        eventually(lambda: events._thread is None, 5)


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


def test_an_error_of_the_subscription_is_shown_until_an_attempt_succeeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A page that stays open receives events again; no error ends the console."""
    monkeypatch.setattr(live, "RETRY", Backoff(0.2, 0.2))
    tails = iter([*ANYTHING, Tail()])

    def opened() -> Any:
        found = next(tails)
        if isinstance(found, Exception):
            raise found
        return found

    events = LiveEvents(opened)
    with events.watching():
        eventually(lambda: events.problem)
        eventually(lambda: events._tail is not None)
        eventually(lambda: events.problem is None)
        events.close()


def test_an_error_while_events_are_received_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the page would wait for events that cannot arrive."""
    monkeypatch.setattr("operations.event_tail.BACKOFF", Backoff(0.2, 0.2))
    fails = [True]

    def poll(*_: Any) -> list[Any]:
        time.sleep(0.01)
        if fails:
            raise ANYTHING[0]
        return []

    monkeypatch.setattr(Tail, "poll", poll)
    with watched(Tail()) as events:
        eventually(lambda: events.problem)
        fails.clear()
        eventually(lambda: events.problem is None)
        events.close()


def test_a_page_opened_while_the_subscription_is_removed_gets_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The removal takes some calls of AWS."""
    monkeypatch.setattr(live, "CLOSE_AFTER", 0.0)
    monkeypatch.setattr(Tail, "poll", polled(list))
    tail, removing, opened = Tail(), threading.Event(), threading.Event()

    def close(self: Tail, *_: object) -> None:
        self.closed += 1
        removing.set()
        assert opened.wait(10)

    monkeypatch.setattr(Tail, "__exit__", close)
    with watched(tail) as events:
        pass
    assert removing.wait(10)
    with events.watching():
        opened.set()
        eventually(lambda: tail.opened == 2)
        events.close()


def test_of_a_large_event_a_bounded_part_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every page receives all kept events, and the topic accepts 256 KiB from anyone."""
    large = "x" * 100_000
    data = {large: large, "list": [large], **{f"n{n}": n for n in range(1_000)}}
    body = json.dumps({"type": large, "subject": large, "causationid": large, "data": data})
    found = [ReceivedEvent.parse(body, time.monotonic())]
    monkeypatch.setattr(Tail, "poll", polled(lambda: [found.pop() for _ in found]))
    with watched(Tail()) as events:
        eventually(lambda: events.after(0))
        [(_, event)] = events.after(0)
        assert len(repr(event)) < 5_000
        assert event.data["list"].endswith("[100,004 characters]")
        events.close()
