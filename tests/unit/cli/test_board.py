from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from application.messages import render_events
from application.ports import CommandKey, Outcome, Status
from cli.demo.board import Board, DeadLetterMessage
from cli.demo.samples import Sample
from domain.errors import RejectionCode
from domain.events import CommandHadNoEffect, CommandRejected, Event, RecordedEvent, UserRegistered
from operations.received_event import ReceivedEvent
from tests.builders import NOW, uid

SAMPLE = Sample("RegisterUser", "Ada", uid("command"), uid("ada"), "{}", "accepted")
REPEAT = replace(SAMPLE, expected="duplicate", repeats=True)
KEY = CommandKey(SAMPLE.user_id, SAMPLE.command_id)


def outcome(*events: Event, code: RejectionCode | None = None) -> Outcome:
    """Create the record of the sample's command."""
    return Outcome(
        command_id=SAMPLE.command_id,
        command_type="biome.user.RegisterUser.v1",
        user_id=SAMPLE.user_id,
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


class Store:
    """Outcomes by key, with a count of the look-ups."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = {CommandKey(o.user_id, o.command_id): o for o in outcomes}
        self.looks = 0

    def __call__(self, keys: Sequence[CommandKey]) -> Mapping[CommandKey, Outcome]:
        """Return the known outcomes of the keys."""
        self.looks += 1
        return {key: self.outcomes[key] for key in keys if key in self.outcomes}


def published(*outcomes: Outcome) -> list[ReceivedEvent]:
    """Return the events of outcomes as the topic would."""
    return [ReceivedEvent.parse(e.body, 11.5) for o in outcomes for e in render_events(o)]


def board(sample: Sample = SAMPLE) -> Board:
    """Create a board with one sample sent."""
    made = Board()
    made.sent([sample], ["m1"], 10.0)
    return made


def test_a_command_ended_when_record_and_events_are_there() -> None:
    """Neither the record nor the topic alone is sufficient."""
    it = board()
    it.look_up(Store(REGISTERED))
    assert it.open  # no event has arrived yet
    it.events(published(REGISTERED))
    it.look_up(Store())
    assert it.open  # there is no record
    it.look_up(Store(REGISTERED))
    (entry,) = it.entries
    assert (entry.outcome, entry.as_expected) == ("accepted", True)
    assert entry.milliseconds == 1500


def test_a_command_is_open_while_one_of_its_events_is_missing() -> None:
    """Each event that the record names must have arrived from the topic."""
    both = outcome(
        UserRegistered("ada@example.com"),
        CommandHadNoEffect(SAMPLE.command_id, "biome.user.RegisterUser.v1"),
    )
    first, second = published(both)
    it = board()
    it.events([first])
    it.look_up(Store(both))
    assert it.open
    it.events([second])
    it.look_up(Store(both))
    assert not it.open


def test_events_of_other_commands_are_ignored() -> None:
    """Only the events that a command caused count, and no look-up is wasted."""
    other = published(replace(REGISTERED, command_id=uid("other")))
    it, store = board(), Store(REGISTERED)
    it.events(other)
    it.look_up(store)
    assert it.open
    assert store.looks == 0


def test_rejection_and_no_effect_differ_from_acceptance() -> None:
    """The outcome shown is the recorded one, whatever was expected."""
    kind = "biome.user.RegisterUser.v1"
    taken = outcome(
        CommandRejected(SAMPLE.command_id, kind, "EmailTaken"), code=RejectionCode.EMAIL_TAKEN
    )
    nothing = outcome(CommandHadNoEffect(SAMPLE.command_id, kind))
    for record, name in ((taken, "rejected EmailTaken"), (nothing, "accepted, no effect")):
        it = board()
        it.events(published(record))
        it.look_up(Store(record))
        assert it.entries[0].outcome == name
        assert not it.entries[0].as_expected


def test_a_dead_letter_ends_the_message_that_it_was_and_no_other() -> None:
    """A dead letter is identified by the id that it had on the command queue."""
    it = board()
    it.dead_letters([DeadLetterMessage("m2", "InvalidField", "data.x", "", 11.0)])
    assert it.open
    it.dead_letters([DeadLetterMessage("m1", "InvalidField", "data.x", "", 11.0)])
    assert it.entries[0].outcome == "dead letter InvalidField"


def repeated(store: Store) -> Board:
    """Create a board whose sample ended, and was sent once more."""
    it = board()
    it.events(published(REGISTERED))
    it.look_up(store)
    it.sent([REPEAT], ["m2"], 20.0)
    return it


def test_a_repeated_message_waits_for_the_queue_to_be_empty() -> None:
    """A duplicate causes no event, so its end is an empty queue."""
    store = Store(REGISTERED)
    it = repeated(store)
    it.look_up(store)
    assert it.awaits_emptiness
    it.queue_is_empty(store)
    assert (it.entries[1].outcome, it.entries[1].as_expected) == ("duplicate", True)


def test_a_repeated_message_that_was_processed_again_is_not_a_duplicate() -> None:
    """A record of a later time, or an event with another id, is detected."""
    again = Store(replace(REGISTERED, recorded_at=NOW + timedelta(seconds=1)))
    it = repeated(Store(REGISTERED))
    it.queue_is_empty(again)
    assert it.entries[1].outcome == "processed twice"

    it = repeated(Store(REGISTERED))
    attributes = {**published(REGISTERED)[0].attributes, "id": uid("new")}
    it.events([ReceivedEvent.parse(json.dumps(attributes), 12.0)])
    it.queue_is_empty(Store(REGISTERED))
    assert it.entries[1].outcome == "processed twice"


def test_emptiness_is_of_no_interest_while_other_samples_are_open() -> None:
    """The queue cannot be empty before they have ended."""
    it = repeated(Store(REGISTERED))
    it.sent([replace(SAMPLE, command_id=uid("third"))], ["m3"], 20.0)
    assert not it.awaits_emptiness
