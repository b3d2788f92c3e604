"""`biome_users.parse_event`, the inbox and the fakes."""

from __future__ import annotations

import json
import random
import sqlite3
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biome_users import (
    Event,
    EventData,
    Inbox,
    InvalidCommandError,
    InvalidEventError,
    NotSentError,
    SqliteInboxStore,
    UnknownEvent,
    commands,
    parse_event,
)
from biome_users.event_types import (
    EVENT_TYPES,
    EmailChanged,
    ProfileUpdated,
    UserBanned,
    UserErased,
)
from biome_users.testing import FakeUserCommands, sample_body, sample_event

USER = "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77"


@pytest.mark.parametrize("kind", EVENT_TYPES.values(), ids=lambda kind: kind.__name__)
def test_every_event_is_read_raw_and_in_a_notification(kind: type[EventData]) -> None:
    """The body may be text or bytes."""
    body = sample_body(kind)
    event = parse_event(body)
    assert type(event.data) is kind
    assert event.type == kind.message_type
    notification = json.dumps({"Type": "Notification", "TopicArn": "arn", "Message": body})
    assert parse_event(notification) == event
    assert parse_event(body.encode()) == event


@pytest.mark.parametrize("kind", EVENT_TYPES.values(), ids=lambda kind: kind.__name__)
def test_neither_repr_nor_error_contains_a_value(kind: type[EventData]) -> None:
    """Values of events are personal data."""
    raw = json.loads(sample_body(kind))
    event = parse_event(json.dumps(raw))
    shown = repr(event) + repr(event.data)
    for name in raw["data"]:
        with pytest.raises(InvalidEventError) as caught:
            parse_event(json.dumps(raw | {"data": raw["data"] | {name: {"a": "secret value"}}}))
        assert "secret value" not in str(caught.value)
    values = [v for v in raw["data"].values() if isinstance(v, str) and len(v) > 3]
    assert not [value for value in values if value in shown and value not in event.type]


def test_the_attributes_have_names_of_this_library() -> None:
    """Users do not need the names of CloudEvents."""
    event = sample_event(EmailChanged, sequence=7)
    raw = json.loads(sample_body(EmailChanged))
    assert (event.user_id, event.command_id, event.sequence) == (
        raw["subject"],
        raw["causationid"],
        7,
    )
    assert event.correlation_id == raw["correlationid"]
    assert isinstance(event.data, EmailChanged)


def test_a_field_and_an_attribute_that_a_later_worker_adds_are_ignored() -> None:
    """A subscriber need not be upgraded first."""
    raw = json.loads(sample_body(UserBanned))
    raw["data"]["later"], raw["later"] = {"a": [1]}, True
    assert parse_event(json.dumps(raw)) == sample_event(UserBanned)


def test_an_unknown_type_is_an_event_with_its_fields() -> None:
    """A later worker may publish new types."""
    raw = json.loads(sample_body(UserBanned)) | {"type": "biome.user.UserPromoted.v3"}
    event = parse_event(json.dumps(raw))
    assert isinstance(event.data, UnknownEvent)
    assert event.data.model_extra == raw["data"]
    assert repr(event.data) == "UnknownEvent()"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "null",
        "[]",
        '"text"',
        "[" * 100_000,
        b"\xff",
        '{"source": "urn:other"}',
        '{"source": "urn:biome:user-worker"}',
        '{"source": "urn:biome:user-worker", "type": 1, "data": {}}',
        '{"source": "urn:biome:user-worker", "type": ["a"], "data": {}}',
        '{"source": "urn:biome:user-worker", "type": "t", "data": []}',
        '{"TopicArn": "arn"}',
        '{"TopicArn": "arn", "Message": 1}',
        '{"TopicArn": "arn", "Message": "{"}',
    ],
)
def test_anything_else_is_not_an_event(body: str | bytes) -> None:
    """One kind of error for all malformed messages."""
    with pytest.raises(InvalidEventError):
        parse_event(body)


@pytest.mark.parametrize("name", ["id", "type", "time", "causationid", "data"])
def test_a_required_attribute_is_required(name: str) -> None:
    """An event without it cannot be processed."""
    raw = json.loads(sample_body(UserBanned))
    del raw[name]
    with pytest.raises(InvalidEventError):
        parse_event(json.dumps(raw))


# --- the inbox -------------------------------------------------------------------------------


def history(count: int, user_id: str = USER) -> list[Event]:
    """Return the first events of a user."""
    return [event(sequence, user_id) for sequence in range(1, count + 1)]


def event(sequence: int, user_id: str = USER, kind: type[EventData] = ProfileUpdated) -> Event:
    """Return an event of a user with this sequence and a new id."""
    raw = json.loads(sample_body(kind, user_id=user_id, sequence=sequence)) | {"id": str(uuid4())}
    return parse_event(json.dumps(raw))


@pytest.fixture
def db() -> Any:
    """An empty database."""
    connection = sqlite3.connect(":memory:")
    yield connection
    connection.close()


@given(seed=st.integers(0, 10_000))
def test_in_any_order_and_with_repetitions_each_event_is_processed_once_in_order(seed: int) -> None:
    """Of three users, with a new inbox for each event."""
    draw = random.Random(seed)
    users = [str(uuid4()) for _ in range(3)]
    events = [each for user in users for each in history(draw.randint(1, 6), user)]
    arriving = events + draw.choices(events, k=5)
    draw.shuffle(arriving)
    connection = sqlite3.connect(":memory:")
    processed: list[Event] = []
    for place, each in enumerate(arriving):
        processed += Inbox(SqliteInboxStore(connection)).take(each, float(place))
    connection.close()
    for user in users:
        mine = [each for each in events if each.user_id == user]
        assert [each for each in processed if each.user_id == user] == mine


def test_a_rolled_back_transaction_leaves_the_event_to_be_processed_again(db: Any) -> None:
    """The inbox does not commit."""
    inbox = Inbox(SqliteInboxStore(db))
    (first,) = history(1)
    assert inbox.take(first, 0.0) == [first]
    db.rollback()
    assert inbox.take(first, 1.0) == [first]
    db.commit()
    assert inbox.take(first, 2.0) == []


def test_a_missing_event_is_a_gap_after_a_while_and_can_be_skipped(db: Any) -> None:
    """The events after the gap follow in order."""
    inbox = Inbox(SqliteInboxStore(db), patience=60)
    first, _, third, fourth = history(4)
    assert inbox.take(first, 0.0) == [first]
    assert inbox.take(third, 10.0) == []
    assert inbox.take(fourth, 11.0) == []
    assert (inbox.gaps(69.0), inbox.gaps(70.0)) == ([], [USER])
    assert inbox.skip_to(USER, 2) == [third, fourth]
    assert inbox.gaps(1_000.0) == []
    assert inbox.skip_to(USER, 1) == []


def test_an_erasure_overtakes_all_events_before_it(db: Any) -> None:
    """They are not waited for either."""
    inbox = Inbox(SqliteInboxStore(db))
    first, second, third = history(3)
    erased = event(4, kind=UserErased)
    assert inbox.take(third, 0.0) == []
    assert inbox.take(erased, 1.0) == [erased]
    assert [inbox.take(each, 2.0) for each in (first, second)] == [[], []]
    assert inbox.gaps(1e9) == []


def test_an_answer_without_a_sequence_is_processed_at_once_and_once(db: Any) -> None:
    """It has no place in the order."""
    kind = EVENT_TYPES["biome.user.CommandRejected.v1"]
    answer = sample_event(kind)
    assert answer.sequence is None
    inbox = Inbox(SqliteInboxStore(db))
    assert [inbox.take(answer, 0.0), inbox.take(answer, 0.0)] == [[answer], []]


def test_ids_are_deleted_when_no_repetition_can_arrive(db: Any) -> None:
    """A queue keeps messages for 14 days."""
    inbox = Inbox(SqliteInboxStore(db))
    inbox.take(event(1), 0.0)
    inbox.prune(14 * 86_400.0)
    assert db.execute("SELECT count(*) FROM inbox_seen").fetchone() == (1,)
    inbox.prune(15 * 86_400.0 + 1)
    assert db.execute("SELECT count(*) FROM inbox_seen").fetchone() == (0,)


# --- fakes -----------------------------------------------------------------------------------


def test_the_fake_sender_checks_and_keeps_commands() -> None:
    """It fails once if the test sets an error."""
    users = FakeUserCommands()
    command_id = users.send(commands.UnbanUser(), user_id=USER)
    assert users.commands(commands.UnbanUser) == [commands.UnbanUser()]
    assert users.commands(commands.BanUser) == []
    assert str(users.sent[0].command_id) == command_id
    with pytest.raises(InvalidCommandError):
        users.send(commands.UnbanUser())
    users.error = NotSentError("Throttled", (), users.sent)
    with pytest.raises(NotSentError):
        users.send(commands.UnbanUser(), user_id=USER)
    users.send(commands.UnbanUser(), user_id=USER)
    assert len(users.sent) == 2


def test_a_sample_event_takes_values_and_refuses_invalid_ones() -> None:
    """A test cannot use an event that no worker publishes."""
    changed = sample_event(EmailChanged, user_id=uuid4(), sequence=3, old_email=None)
    assert isinstance(changed.data, EmailChanged)
    assert (changed.data.old_email, changed.sequence) == (None, 3)
    with pytest.raises(InvalidEventError):
        sample_event(EmailChanged, old_email=7)
