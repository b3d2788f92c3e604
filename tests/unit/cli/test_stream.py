"""When the samples of `dev` have ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from application.messages import render_events
from application.ports import CommandKey
from application.repository import LoadRequest, Outcome, Snapshot, Status
from cli.demo import stream
from cli.demo.samples import Sample
from cli.demo.stream import QUIET, SampleStream, Sent
from domain.errors import RejectionCode
from domain.events import CommandHadNoEffect, CommandRejected, Event, RecordedEvent, UserRegistered
from operations.received_event import ReceivedEvent
from tests.builders import NOW, uid

KIND = "biome.user.RegisterUser.v1"
SAMPLE = Sample("RegisterUser", "Ada", CommandKey(uid("ada"), uid("command")), "{}", "accepted")
REPEAT = replace(SAMPLE, expected="duplicate")


def outcome(*events: Event, code: RejectionCode | None = None) -> Outcome:
    """Create the record of the sample's command."""
    return Outcome(
        command_id=SAMPLE.key.command_id,
        command_type=KIND,
        user_id=SAMPLE.key.user_id,
        by_email=False,
        fingerprint="f",
        status=Status.REJECTED if code else Status.ACCEPTED,
        code=code,
        events=tuple(RecordedEvent.of(event, 1) for event in events),
        version=1,
        recorded_at=NOW,
        expires_at=NOW + timedelta(days=90),
        source="/test",
    )


REGISTERED = outcome(UserRegistered("ada@example.com"))


def published(*outcomes: Outcome) -> list[ReceivedEvent]:
    """Return the events of outcomes as the topic would."""
    return [ReceivedEvent.parse(e.body, 11.5) for o in outcomes for e in render_events(o)]


class World:
    """A stream, and what can be observed from outside the worker."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 10.0
        self.waiting = 0
        """Messages in the command queue."""
        self.topic: list[ReceivedEvent] = []
        self.store: dict[CommandKey, Outcome] = {}
        self.loads = 0
        self.letters: list[dict[str, Any]] = []
        self.stream: SampleStream
        monkeypatch.setattr(stream, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(stream, "queue_depths", lambda *_: {"visible": self.waiting})
        monkeypatch.setattr(stream, "send_bodies", lambda *_: [f"m{len(self.stream.sent)}"])
        aws: Any = SimpleNamespace(
            sqs=SimpleNamespace(receive_message=lambda **_: {"Messages": self.letters}),
            repository=SimpleNamespace(load=self._load),
            command_queue_url="http://q",
            dead_letter_queue_url="http://d",
        )
        self.stream = SampleStream(aws, lambda _: self._new_events())

    def _load(self, request: LoadRequest) -> Snapshot:
        self.loads += 1
        keys = request.outcomes & self.store.keys()
        return Snapshot(outcomes={key: self.store[key] for key in keys})

    def _new_events(self) -> Iterator[ReceivedEvent]:
        while self.topic:
            yield self.topic.pop(0)

    def send(self, sample: Sample = SAMPLE) -> Sent:
        """Send a sample."""
        self.stream.send([sample])
        return self.stream.sent[-1]

    def record(self, record: Outcome = REGISTERED) -> None:
        """Store an outcome."""
        self.store[CommandKey(record.user_id, record.command_id)] = record

    def dead_letter(self, original_id: str) -> None:
        """Add a dead letter of the message with an id."""
        texts = {"original_message_id": original_id, "error_code": "InvalidField"}
        attributes = {name: {"StringValue": text} for name, text in texts.items()}
        self.letters.append({"Body": "", "MessageAttributes": attributes})

    def observe(self, times: int = 1) -> None:
        """Observe some times."""
        for _ in range(times):
            self.stream.observe()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A stream that has sent nothing yet."""
    return World(monkeypatch)


def test_a_command_ended_when_record_and_events_are_there(world: World) -> None:
    """Neither the record nor the topic alone is sufficient."""
    sent = world.send()
    world.record()
    world.observe()
    assert world.stream.open  # no event has arrived yet
    world.topic += published(REGISTERED)
    world.store.clear()
    world.observe()
    assert world.stream.open  # there is no record
    world.record()
    world.observe()
    assert (sent.outcome, sent.detail, sent.sent_at) == ("accepted", "UserRegistered", 10.0)
    assert sent.ended_at == 11.5


def test_a_command_is_open_while_one_of_its_events_is_missing(world: World) -> None:
    """Each event that the record names must have arrived from the topic."""
    both = outcome(
        UserRegistered("ada@example.com"), CommandHadNoEffect(SAMPLE.key.command_id, KIND)
    )
    first, second = published(both)
    world.send()
    world.record(both)
    world.topic.append(first)
    world.observe()
    assert world.stream.open
    world.topic.append(second)
    world.observe()
    assert not world.stream.open


def test_events_of_other_commands_are_ignored(world: World) -> None:
    """Only the events that a command caused count, and no look-up is wasted."""
    world.send()
    world.record()
    world.topic += published(replace(REGISTERED, command_id=uid("other")))
    world.observe()
    assert world.stream.open
    assert world.loads == 0


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (
            outcome(
                CommandRejected(SAMPLE.key.command_id, KIND, "EmailTaken"),
                code=RejectionCode.EMAIL_TAKEN,
            ),
            "rejected EmailTaken",
        ),
        (outcome(CommandHadNoEffect(SAMPLE.key.command_id, KIND)), "accepted, no effect"),
    ],
)
def test_rejection_and_no_effect_differ_from_acceptance(
    world: World, record: Outcome, name: str
) -> None:
    """The outcome shown is the recorded one, whatever was expected."""
    sent = world.send()
    world.record(record)
    world.topic += published(record)
    world.observe()
    assert sent.outcome == name


def test_a_dead_letter_ends_the_message_that_it_was_and_no_other(world: World) -> None:
    """A dead letter is identified by the id that it had on the command queue."""
    sent = world.send()
    world.dead_letter("m1")
    world.observe()
    assert world.stream.open
    world.dead_letter("m0")
    world.observe()
    assert sent.outcome == "dead letter InvalidField"


@pytest.fixture
def repeated(world: World) -> World:
    """A stream whose sample ended, and was sent once more."""
    world.send()
    world.record()
    world.topic += published(REGISTERED)
    world.observe()
    world.send(REPEAT)
    return world


def test_a_repeated_message_waits_for_the_queue_to_be_empty(repeated: World) -> None:
    """A duplicate causes no event; SQS counts approximately, so the queue must look empty twice."""
    repeated.waiting = 1
    repeated.observe(3)
    repeated.waiting = 0
    repeated.observe()
    assert repeated.stream.open
    repeated.observe()
    assert repeated.stream.sent[1].outcome == "duplicate"


def test_a_repeated_message_that_was_processed_again_is_not_a_duplicate(repeated: World) -> None:
    """A record of a later time is detected."""
    repeated.record(replace(REGISTERED, recorded_at=NOW + timedelta(seconds=1)))
    repeated.observe(2)
    assert repeated.stream.sent[1].outcome == "processed twice"


def test_a_repeated_message_with_another_event_is_not_a_duplicate(repeated: World) -> None:
    """An event with another id is detected."""
    attributes = {**published(REGISTERED)[0].attributes, "id": uid("new")}
    repeated.topic.append(ReceivedEvent.parse(json.dumps(attributes), 12.0))
    repeated.observe(2)
    assert repeated.stream.sent[1].outcome == "processed twice"


def test_emptiness_is_of_no_interest_while_other_samples_are_open(repeated: World) -> None:
    """The queue cannot be empty before they have ended."""
    repeated.send(replace(SAMPLE, key=CommandKey(uid("ada"), uid("third"))))
    repeated.observe(3)
    assert len(repeated.stream.open) == 2


def test_a_queue_that_others_keep_busy_does_not_hold_up_the_samples(repeated: World) -> None:
    """Some quiet seconds are sufficient, counted from when only an empty queue is awaited."""
    repeated.waiting = 7
    other = repeated.send(replace(SAMPLE, key=CommandKey(uid("ada"), uid("third"))))
    repeated.now += QUIET
    repeated.observe()
    other.end("accepted", "", repeated.now)
    repeated.now += QUIET - 0.1
    repeated.observe()
    assert repeated.stream.open
    repeated.now += 0.1
    repeated.observe()
    assert repeated.stream.sent[1].outcome == "duplicate"
