from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from application.messages import render_events
from application.repository import Outcome, Status
from domain.errors import RejectionCode
from domain.events import (
    EVENTS,
    CommandRejected,
    EmailChanged,
    EmailVerified,
    Event,
    RecordedEvent,
    UserRegistered,
)
from domain.fields import example_of, fields_of
from tests.unit.application.messages.examples import COMMAND_ID, OTHER_ID, USER_ID

RECORDED_AT = datetime(2026, 11, 22, 10, 0, 0, 123_456, tzinfo=UTC)
OUTCOME = Outcome(
    command_id=COMMAND_ID,
    command_type="biome.user.RegisterUser.v1",
    user_id=USER_ID,
    by_email=False,
    fingerprint="f",
    status=Status.ACCEPTED,
    code=None,
    events=(
        RecordedEvent.of(UserRegistered("Adé@example.com"), 1),
        RecordedEvent.of(EmailVerified(), 2),
    ),
    version=2,
    recorded_at=RECORDED_AT,
    expires_at=RECORDED_AT,
    source="/signup",
    correlation_id="order-17",
    actor="support/7",
    traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    tracestate="vendor=1",
)


def test_an_event_is_a_cloud_event_with_what_subscribers_need() -> None:
    """It has every attribute, in the published form; an address is in the complete body only."""
    first, second = render_events(OUTCOME)

    assert first.complete_body is not None
    complete = json.loads(first.complete_body)
    assert json.loads(first.body) == complete | {"data": {"email": None}}
    assert second.complete_body is None
    assert complete == {
        "specversion": "1.0",
        "id": "91d73223-f80c-5ad9-92ed-173da7048fff",
        "source": "urn:biome:user-worker",
        "type": "biome.user.UserRegistered.v1",
        "subject": USER_ID,
        "time": "2026-11-22T10:00:00.123Z",
        "datacontenttype": "application/json",
        "sequence": "00000000000000000001",
        "causationid": COMMAND_ID,
        "correlationid": "order-17",
        "actor": "support/7",
        "traceparent": OUTCOME.traceparent,
        "tracestate": "vendor=1",
        "data": {"email": "Adé@example.com"},
    }
    assert first.event_id == "91d73223-f80c-5ad9-92ed-173da7048fff"
    assert first.user_id == USER_ID
    assert first.type == "biome.user.UserRegistered.v1"
    assert first.category == "registration"
    assert first.command_source == "/signup"
    assert first.body.isascii()
    assert ": " not in first.body


def test_ids_are_the_same_whenever_an_outcome_is_published() -> None:
    """They depend only on the user, the command and the event's position."""
    ids = [message.event_id for message in render_events(OUTCOME)]
    later = replace(OUTCOME, recorded_at=datetime(2030, 1, 1, tzinfo=UTC), correlation_id=None)
    others = [replace(OUTCOME, user_id=OTHER_ID), replace(OUTCOME, command_id=OTHER_ID)]

    assert [message.event_id for message in render_events(later)] == ids
    every = ids + [message.event_id for other in others for message in render_events(other)]
    assert len(set(every)) == 6


def test_an_outcome_without_user_is_published_under_the_command() -> None:
    """It has neither subject nor sequence; the command's id is its group on a FIFO topic."""
    event = CommandRejected(COMMAND_ID, OUTCOME.command_type, RejectionCode.COMMAND_EXPIRED)
    outcome = replace(OUTCOME, user_id=None, events=(RecordedEvent.of(event, None),))

    (message,) = render_events(replace(outcome, correlation_id=None, traceparent=None, actor=None))

    body = json.loads(message.body)
    assert body.keys().isdisjoint({"subject", "sequence", "correlationid", "traceparent", "actor"})
    assert body["data"]["code"] == "CommandExpired"
    assert message.user_id == COMMAND_ID
    assert message.category == "command"


@pytest.mark.parametrize("text", ["\ufffe", "\x01", "\u2028", "😀", '"'])
def test_a_body_holds_no_character_that_a_topic_refuses(text: str) -> None:
    """Escapes represent what XML cannot."""
    event = RecordedEvent("t", "profile", 1, {"email": text, "changed": text})

    (message,) = render_events(replace(OUTCOME, events=(event,)))

    assert message.complete_body is not None
    for body in (message.body, message.complete_body):
        assert body.isprintable()
        assert json.loads(body)["data"]["changed"] == text
    assert json.loads(message.complete_body)["data"]["email"] == text


@pytest.mark.parametrize("kind", EVENTS.values(), ids=lambda kind: kind.__name__)
def test_only_the_complete_body_has_personal_fields(kind: type[Event]) -> None:
    """An event without them, or whose user was erased, has no complete body."""
    event = RecordedEvent(kind.type, kind.category, 1, example_of(kind))
    personal = {field.name for field in fields_of(kind) if field.personal}
    assert all(field.nullable for field in fields_of(kind) if field.personal)

    (message,) = render_events(replace(OUTCOME, events=(event,)))

    assert "@" not in message.body
    assert (message.complete_body is not None) == bool(personal)
    body = json.loads(message.body)
    assert body["data"] == event.data | dict.fromkeys(personal)
    if message.complete_body is not None:
        assert json.loads(message.complete_body) == body | {"data": event.data}
    (erased,) = render_events(replace(OUTCOME, events=(event.without_personal_data(),)))
    assert (erased.body, erased.complete_body) == (message.body, None)


def test_one_of_two_addresses_is_enough_for_a_complete_body() -> None:
    """A field that is null already does not matter."""
    event = RecordedEvent.of(EmailChanged(None, "ada@example.com"), 1)

    (message,) = render_events(replace(OUTCOME, events=(event,)))

    assert message.complete_body is not None
    assert json.loads(message.complete_body)["data"] == event.data
