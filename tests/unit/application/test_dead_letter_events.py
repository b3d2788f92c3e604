"""The event of a dead letter: its receivers, its content, and an outage of the topic."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from application.batch import BatchHandler, Ports
from application.disposition import Ack, DeadLetter, Disposition, ReceivedMessage, Retry
from application.messages import MessageParser
from application.permissions import Permissions, Producer
from application.ports import EventMessage, PublishFailure, StoreUnavailableError
from tests.builders import message
from tests.secrets import SECRET, reveals
from tests.unit.application.messages.examples import (
    COMMAND_ID,
    USER_ID,
    cloud_event,
    with_data,
)
from tests.unit.application.test_batch import FixedClock, World


def events(world: World) -> list[dict[str, Any]]:
    """Return the published events of dead letters."""
    published = [json.loads(event.body) for event in world.publisher.published]
    return [event for event in published if event["type"].startswith("biome.user.CommandDead")]


def test_the_sender_of_an_invalid_command_gets_an_answer() -> None:
    """With the ids, the type and the code, and no value of the message."""
    world = World()
    body = json.dumps(
        cloud_event(correlationid="order-1", data={"password": SECRET}, actor="support/7")
    )
    (letter,) = world.handle(message(body))
    assert isinstance(letter, DeadLetter)

    (event,) = events(world)
    assert not reveals(json.dumps(event))
    assert event["data"] == {
        "command_id": COMMAND_ID,
        "command_type": "biome.user.RegisterUser.v1",
        "code": letter.code,
    }
    assert (event["causationid"], event["subject"]) == (COMMAND_ID, USER_ID)
    assert (event["correlationid"], event["actor"]) == ("order-1", "support/7")
    (published,) = world.publisher.published
    assert (published.command_source, published.category) == ("/signup", "command")


@pytest.mark.parametrize("receives", [1, 11, 12])
def test_a_failed_command_is_answered_when_it_is_dead_lettered(receives: int) -> None:
    """Without the store, which is why it failed."""
    world = World()
    world.repository.load_errors = [StoreUnavailableError("down")]
    (disposition,) = world.handle(message(json.dumps(cloud_event("UnbanUser")), receives=receives))
    assert isinstance(disposition, DeadLetter) is (receives == 12)
    assert [event["data"]["code"] for event in events(world)] == ["Unavailable"] * (receives == 12)
    assert not world.store.outcomes


@pytest.mark.parametrize(
    "body",
    [
        SECRET,
        "{}",
        json.dumps(cloud_event(id="x")),
        json.dumps(cloud_event(source="")),
        json.dumps(cloud_event() | {"type": "biome.user.UserBanned.v1"}),
        json.dumps(cloud_event() | {"type": SECRET}),
    ],
)
def test_without_a_valid_id_source_and_type_there_is_no_event(body: str) -> None:
    """There is no command to answer."""
    world = World()
    (letter,) = world.handle(message(body, receives=12))
    assert isinstance(letter, DeadLetter)
    assert events(world) == []


@pytest.mark.parametrize(
    ("commands", "sources", "answered"),
    [
        (("RegisterUser",), ("*",), True),
        (("BanUser",), ("*",), False),
        (("*",), ("/elsewhere",), False),
        ((), ("*",), False),
    ],
)
@pytest.mark.parametrize("valid", [True, False])
def test_a_sender_that_is_not_permitted_gets_no_answer(
    commands: tuple[str, ...], sources: tuple[str, ...], *, answered: bool, valid: bool
) -> None:
    """Neither for a valid command, nor for an invalid one."""
    world = World()
    permissions = Permissions(producers=(Producer("signup", ("*",), ("*",), sources, commands),))
    ports = Ports(world.repository, world.outbox, world.publisher, FixedClock())
    world.handler = BatchHandler(
        ports, MessageParser(["customer"]), world.handler._policy, permissions=permissions
    )
    (disposition,) = world.handle(message(json.dumps(cloud_event()) if valid else with_data(x=1)))
    assert isinstance(disposition, Ack) is (valid and answered)
    assert len(events(world)) == (answered and not valid)


class Topic:
    """A topic that fails, or answers as set."""

    def __init__(self, world: World, failure: PublishFailure | Exception) -> None:
        world.publisher.publish = self.publish  # type: ignore[method-assign]
        self.failure = failure
        self.seen: list[str] = []

    def publish(self, messages: Sequence[EventMessage]) -> dict[str, PublishFailure]:
        """Fail, and record the ids."""
        self.seen += [event.event_id for event in messages]
        if isinstance(self.failure, Exception):
            raise self.failure
        return {event.event_id: self.failure for event in messages}


@pytest.mark.parametrize(
    "failure",
    [PublishFailure("Throttled", permanent=False), RuntimeError(SECRET), KeyError("x")],
)
def test_while_the_topic_does_not_accept_the_event_the_message_is_retried(
    failure: PublishFailure | Exception,
) -> None:
    """Until its last receive, under the same id; then the letter is sent without the event."""
    world = World()
    topic = Topic(world, failure)
    found: list[Disposition] = []
    with capture_logs() as logs:
        for receives in (1, 11, 12):
            found += world.handle(message(with_data(x=1), receives=receives))
    assert [type(each) for each in found] == [Retry, Retry, DeadLetter]
    assert len(topic.seen) == 3
    assert len(set(topic.seen)) == 1
    named = [line["event"] for line in logs if line["event"].startswith("dead_letter_")]
    assert named == ["dead_letter_postponed"] * 2 + ["dead_letter_not_announced"]
    assert not reveals(str([line for line in logs if line["event"] in named]))


def test_an_event_that_the_topic_rejects_for_its_content_does_not_delay_the_letter() -> None:
    """A retry cannot help."""
    world = World()
    Topic(world, PublishFailure("InvalidParameter", permanent=True, answered=True))
    (letter,) = world.handle(message(with_data(x=1)))
    assert isinstance(letter, DeadLetter)


def test_one_event_that_fails_concerns_its_own_message_only() -> None:
    """The other message of the batch is dead-lettered, and the command is decided."""
    world = World()
    bad, other = message(with_data(x=1)), message(with_data(x=2))
    first: list[str] = []

    def publish(messages: Sequence[EventMessage]) -> dict[str, PublishFailure]:
        first.append(messages[0].event_id)
        return {first[0]: PublishFailure("Throttled", permanent=False)}

    world.publisher.publish = publish  # type: ignore[method-assign]
    dispositions = world.handle(bad, other)
    assert [type(each) for each in dispositions] == [Retry, DeadLetter]


def test_a_later_dead_letter_of_the_command_has_another_event_id() -> None:
    """After a redrive the message has another id; its sender gets another answer."""
    world = World()
    for name in ("one", "one", "two"):
        received: ReceivedMessage = message(with_data(x=1))
        received["message_id"] = name
        world.handle(received)
    ids = [event["id"] for event in events(world)]
    assert len(set(ids)) == 2
    assert ids[0] == ids[1]


def test_an_error_while_the_event_is_made_does_not_stop_the_letter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For any exception; it is logged without its text."""

    def fail(_: str) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr("application.batch.read_attributes", fail)
    world = World()
    (letter,) = world.handle(message(with_data(x=1)))
    assert isinstance(letter, DeadLetter)
    assert events(world) == []
