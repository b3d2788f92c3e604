from __future__ import annotations

import json
from itertools import islice
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from operations.event_tail import EventTail, follow_events
from operations.received_event import ReceivedEvent
from tests.builders import uid
from tests.unit.operations.recorded_progress import RecordedProgress

ANYTHING = [
    RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a proxy's page"),
    KeyError("Messages"),
    EndpointConnectionError(endpoint_url="http://sqs"),
    ClientError({"Error": {"Code": "QueueDoesNotExist"}}, "ReceiveMessage"),
]
"""Errors that botocore raises, including some that no list of its exceptions has."""


def event(name: str) -> ReceivedEvent:
    """Create an event."""
    body = {"id": uid(name), "type": "biome.user.X.v1", "time": "2030-01-01T00:00:00Z"}
    return ReceivedEvent.parse(json.dumps(body), 0)


class Tail:
    """A followed topic, whose polls and checks have given results."""

    def __init__(self, *polls: list[ReceivedEvent] | Exception) -> None:
        self.polls = list(polls)
        self.checks = 0
        self.check_fails: Exception | None = None

    def poll(self) -> list[ReceivedEvent]:
        """Return or raise the next result."""
        poll = self.polls.pop(0)
        if isinstance(poll, Exception):
            raise poll
        return poll

    def renew_if_lost(self) -> None:
        """Count the call."""
        self.checks += 1
        if self.check_fails is not None:
            raise self.check_fails


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The recorded pauses, which take no time."""
    pauses: list[float] = []
    monkeypatch.setattr("operations.event_tail.time.sleep", pauses.append)
    return pauses


@pytest.mark.parametrize("error", ANYTHING, ids=lambda error: type(error).__name__)
def test_following_goes_on_after_any_error(pauses: list[float], error: Exception) -> None:
    """It retries with growing pauses, logs once per episode, and checks the queue each time."""
    tail: Any = Tail([event("a")], error, error, [event("b"), event("c")], error, [event("d")])
    progress = RecordedProgress()
    seen = list(islice(follow_events(tail, progress), 4))
    assert seen == [event(name) for name in "abcd"]
    assert (pauses, tail.checks) == ([0.5, 1.0, 0.5], 3)
    assert len(progress.notes) == 2
    assert all("retrying" in note for note in progress.notes)


def test_a_queue_that_cannot_be_made_anew_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The topic may be created again."""
    tail: Any = Tail(ANYTHING[-1], [event("a")])
    tail.check_fails = ClientError({"Error": {"Code": "NotFound"}}, "Subscribe")
    pauses: list[float] = []

    def mended(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            tail.check_fails = None

    monkeypatch.setattr("operations.event_tail.time.sleep", mended)
    assert next(follow_events(tail)) == event("a")
    assert pauses == [0.5, 1.0, 2.0]


def test_a_refusal_ends_it(pauses: list[float]) -> None:
    """AWS would refuse it again."""
    denied = ClientError({"Error": {"Code": "AccessDenied"}}, "ReceiveMessage")
    tail: Any = Tail(denied)
    with pytest.raises(ClientError):
        next(follow_events(tail))
    assert pauses == []


@pytest.mark.parametrize(
    "body", [None, 7, b"\xff", [], "", "[", "{}", '{"type": 7}', "[" * 100_000]
)
def test_an_invalid_event_is_a_value_error(body: Any) -> None:
    """Anyone may publish, and a proxy may answer anything."""
    with pytest.raises(ValueError, match="CloudEvent"):
        ReceivedEvent.parse(body, 0)


class Reader:
    """A queue that has the same events again and again."""

    def poll(self, wait: int) -> list[str]:
        """Return events with and without ids."""
        assert wait
        return [json.dumps({"type": "x", "id": name}) for name in ("a", "b", "c", "", "")]


def test_ids_of_received_events_are_remembered_within_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A console follows a topic for weeks; events without an id are never taken for repeated."""
    tail = EventTail(None, None, "arn:aws:sns:us-east-1:1:topic")  # type: ignore[arg-type]
    tail._reader = Reader()  # type: ignore[assignment]
    assert [each.id for each in tail.poll()] == ["a", "b", "c", "", ""]
    assert [each.id for each in tail.poll()] == ["", ""]
    monkeypatch.setattr("operations.event_tail.REMEMBERED", 2)
    for _ in range(3):
        tail.poll()
    assert len(tail._seen) == 2
