"""Commands followed from message to event, with the time of each step."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Final, TypeVar

from application.repository import LoadRequest, Outcome
from console.live import LiveEvents
from domain.events import CommandDeadLettered
from operations.outcomes import outcome_keys
from operations.presentation import is_id, name_of, outcome_words
from operations.received_event import ReceivedEvent
from worker.connections import Aws

Value = TypeVar("Value")

REMEMBERED: Final = 1_000
"""Commands of which the sending and the outcome are remembered."""
NEWEST: Final = 12
"""Commands of the list that is renewed."""
LOOKED_AT: Final = 10 * NEWEST
"""Events among which the newest commands are looked for: a command may have several."""


@dataclass(frozen=True, slots=True)
class SentCommand:
    """A command that was sent from here."""

    name: str
    user_id: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a command, with the milliseconds since the step before it."""

    at: datetime
    text: str
    after: float | None


@dataclass(frozen=True, slots=True)
class Followed:
    """One command: its sending, its outcome and its events, as far as known."""

    command_id: str
    sent: SentCommand | None
    outcome: Outcome | None
    events: Sequence[tuple[datetime, ReceivedEvent]]
    """Events, with the times at which they were received."""

    @property
    def name(self) -> str:
        """The command's name; "command" if no message and no outcome states it."""
        if self.outcome is not None:
            return name_of(self.outcome.command_type)
        return "command" if self.sent is None else self.sent.name

    @property
    def user_id(self) -> str | None:
        """The user of the command; any text may be in an event."""
        if self.outcome is not None and self.outcome.user_id is not None:
            return self.outcome.user_id
        named = (event.user_id for _, event in self.events if event.user_id)
        return next(named, None if self.sent is None else self.sent.user_id)

    @property
    def words(self) -> str:
        """How the command ended, in one or two words."""
        if self.outcome is not None:
            return outcome_words(self.outcome)
        names = [event.name for _, event in self.events]
        if CommandDeadLettered.__name__ in names:
            return "dead-lettered"
        return names[-1] if names else "in the queue"

    @property
    def steps(self) -> list[Step]:
        """The steps in the order of their times."""
        moments: list[tuple[datetime, str]] = []
        if self.sent is not None:
            moments.append((self.sent.at, f"{self.sent.name} sent to the queue"))
        if self.outcome is not None:
            moments.append((self.outcome.recorded_at, f"{self.words}, committed to the table"))
        moments += [(at, f"{event.name} received from the topic") for at, event in self.events]
        moments.sort(key=lambda each: each[0])
        before = [None, *(at for at, _ in moments)]
        return [
            Step(at, text, None if last is None else 1_000 * (at - last).total_seconds())
            for (at, text), last in zip(moments, before, strict=False)
        ]

    @property
    def milliseconds(self) -> float | None:
        """Time from the first step to the last one; `None` with one step."""
        steps = self.steps
        return 1_000 * (steps[-1].at - steps[0].at).total_seconds() if len(steps) > 1 else None


@dataclass(slots=True)
class Commands:
    """The commands seen lately. Any thread."""

    live: LiveEvents
    _sent: OrderedDict[str, SentCommand] = field(default_factory=OrderedDict)
    _outcomes: OrderedDict[str, Outcome] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def note_sent(self, command_id: str, sent: SentCommand) -> None:
        """Remember a command that was sent."""
        with self._lock:
            _put(self._sent, command_id, sent)

    def follow(self, aws: Aws, command_id: str, user_id: str | None) -> Followed:
        """Return what is known of a command; reads its outcome, consistently."""
        return self._load(aws, {command_id: user_id})[0]

    def newest(self, aws: Aws) -> list[Followed]:
        """Return the commands seen last, newest first; reads outcomes that are not known yet."""
        seen: dict[str, tuple[datetime, str | None]] = {}
        with self._lock:
            for command_id, sent in self._sent.items():
                seen[command_id] = sent.at, sent.user_id
        for at, event in self.live.newest(LOOKED_AT):
            if event.command_id and is_id(event.command_id):
                first, user_id = seen.get(event.command_id, (at, None))
                named = event.user_id if event.user_id and is_id(event.user_id) else user_id
                seen[event.command_id] = first, named
        recent = sorted(seen, key=lambda command_id: seen[command_id][0], reverse=True)[:NEWEST]
        return self._load(aws, {command_id: seen[command_id][1] for command_id in recent})

    def _load(self, aws: Aws, users: dict[str, str | None]) -> list[Followed]:
        with self._lock:
            known = {each: self._outcomes[each] for each in users if each in self._outcomes}
            sent = {each: self._sent.get(each) for each in users}
        keys = {
            key
            for each, user_id in users.items()
            if each not in known
            for key in outcome_keys(each, user_id)
        }
        found = aws.repository.load(LoadRequest(outcomes=keys)).outcomes if keys else {}
        known |= {key.command_id: outcome for key, outcome in found.items()}
        with self._lock:
            for command_id, outcome in known.items():
                _put(self._outcomes, command_id, outcome)
        return [
            Followed(each, sent[each], known.get(each), self.live.of_command(each))
            for each in users
        ]


def _put(values: OrderedDict[str, Value], key: str, value: Value) -> None:
    values[key] = value
    while len(values) > REMEMBERED:
        values.popitem(last=False)
