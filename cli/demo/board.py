"""Track each sample by what is observable from outside: events, outcome records, dead letters.

Every end is verified. A command has ended when its outcome record exists and each of the record's
events was received from the topic. A message is dead when it is in the dead-letter queue. A
repeated message was detected as a duplicate when the queue is empty, the record is unchanged, and
the topic has no new event.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from application.ports import CommandKey, Outcome
from cli.demo.samples import ACCEPTED, DUPLICATE, NO_EFFECT, Sample, dead, rejected
from cli.rendering import name_of
from operations.received_event import ReceivedEvent

Outcomes = Callable[[Sequence[CommandKey]], Mapping[CommandKey, Outcome]]


@dataclass(frozen=True, slots=True)
class DeadLetterMessage:
    """A message in the dead-letter queue."""

    message_id: str
    """Id of the original message on the command queue."""
    code: str
    detail: str
    body: str
    seen_at: float
    """Seconds of the monotonic clock."""


@dataclass(slots=True)
class Entry:
    """A sample that was sent, and its result."""

    sample: Sample
    message_id: str
    sent_at: float
    recorded_before: datetime | None = None
    outcome: str | None = None
    detail: str = ""
    ended_at: float = 0.0

    @property
    def key(self) -> CommandKey:
        """Key of its outcome."""
        return CommandKey(self.sample.user_id, self.sample.command_id)

    @property
    def milliseconds(self) -> float:
        """Milliseconds from sending to observing the end."""
        return (self.ended_at - self.sent_at) * 1000

    @property
    def as_expected(self) -> bool:
        """Whether the result is the expected one."""
        return self.outcome == self.sample.expected

    def end(self, outcome: str, detail: str, at: float) -> None:
        """Record the result."""
        self.outcome, self.detail, self.ended_at = outcome, detail, at


@dataclass(slots=True)
class Board:
    """Samples of one stream."""

    entries: list[Entry] = field(default_factory=list)
    _events: dict[str, list[ReceivedEvent]] = field(default_factory=dict)
    """Events by command id."""
    _recorded: dict[CommandKey, Outcome] = field(default_factory=dict)

    def sent(self, samples: Sequence[Sample], message_ids: Sequence[str], at: float) -> None:
        """Record what was sent, and the time on the monotonic clock."""
        for sample, message_id in zip(samples, message_ids, strict=True):
            key = CommandKey(sample.user_id, sample.command_id)
            known = self._recorded.get(key)
            self.entries.append(Entry(sample, message_id, at, known.recorded_at if known else None))

    @property
    def open(self) -> list[Entry]:
        """Samples whose end was not observed yet."""
        return [entry for entry in self.entries if entry.outcome is None]

    @property
    def awaits_emptiness(self) -> bool:
        """Whether all open samples are repeated messages, which end when the queue is empty."""
        return bool(self.open) and all(entry.sample.repeats for entry in self.open)

    def events(self, events: Iterable[ReceivedEvent]) -> None:
        """Record events received from the topic."""
        for event in events:
            if event.command_id:
                self._events.setdefault(event.command_id, []).append(event)

    def dead_letters(self, letters: Iterable[DeadLetterMessage]) -> None:
        """Record letters of the dead-letter queue."""
        by_message = {entry.message_id: entry for entry in self.open}
        for letter in letters:
            if letter.message_id in by_message:
                by_message[letter.message_id].end(dead(letter.code), letter.detail, letter.seen_at)

    def look_up(self, outcomes: Outcomes) -> None:
        """Read the outcome records of commands with events, and compare."""
        spoken_of = [
            e for e in self.open if e.sample.command_id in self._events and not e.sample.repeats
        ]
        if spoken_of:
            found = outcomes([entry.key for entry in spoken_of])
            self._recorded.update(found)
            for entry in spoken_of:
                if entry.key in found:
                    self._compare(entry, found[entry.key])

    def _compare(self, entry: Entry, outcome: Outcome) -> None:
        """End a command if its recorded events are those received from the topic."""
        seen = self._events[entry.sample.command_id]
        if sorted(e.type for e in seen) == sorted(e.type for e in outcome.events):
            entry.end(_name(outcome), event_list(seen), max(e.received_at for e in seen))

    def queue_is_empty(self, outcomes: Outcomes) -> None:
        """End all repeated messages, because the queue is empty and so they were processed."""
        now = time.monotonic()
        repeats = [entry for entry in self.open if entry.sample.repeats]
        found = outcomes([entry.key for entry in repeats]) if repeats else {}
        for entry in repeats:
            record = found.get(entry.key)
            seen = self._events.get(entry.sample.command_id, [])
            if (
                record is not None
                and record.recorded_at == entry.recorded_before
                and len(seen) == len(record.events)
            ):
                entry.end(DUPLICATE, "no new events", now)
            else:
                entry.end("processed twice", event_list(seen), now)


def event_list(events: Iterable[ReceivedEvent]) -> str:
    """Return the names of events, one per line."""
    return "\n".join(event.name for event in events)


def _name(outcome: Outcome) -> str:
    if outcome.code is not None:
        return rejected(outcome.code)
    names = [name_of(event.type) for event in outcome.events]
    return NO_EFFECT if names == ["CommandHadNoEffect"] else ACCEPTED
