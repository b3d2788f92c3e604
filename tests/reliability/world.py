"""What outlives every worker: AWS, the time, and the messages of producers.

`World` is AWS as the workers use it plus what a test checks afterwards. Here it is in this process;
`endpoint_world.py` has the one at a real endpoint. Its clock stands still until the test lets time
pass, so a run of minutes takes milliseconds.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from adapters.sqs.dead_letters import ORIGINAL_ID, QUARANTINED
from application.messages import render_command
from application.messages.commands import command_data
from application.ports import Clock
from domain.commands import Command
from tests.builders import NOW, uid
from tests.reliability.in_process_dynamodb import InProcessDynamoDB
from tests.reliability.in_process_sns import InProcessSns
from tests.reliability.in_process_sqs import InProcessSqs
from worker.settings import personal_topic_of

A_WHILE = timedelta(seconds=31)
"""More than the age at which the relay takes a pointer."""
AFTER_THE_GRACE = timedelta(seconds=90)
"""More than the time for which a command waits for the registration of its user, and so little
that no command reaches its maximum age before its last receive."""


class StandingClock(Clock):
    """A clock that a test sets."""

    def __init__(self, start: datetime) -> None:
        """Start at a time."""
        self.time = start

    def now(self) -> datetime:
        """Return the time of the clock."""
        return self.time


@dataclass(frozen=True, slots=True)
class Sent:
    """One message as its producer sent it."""

    command_id: str
    user_id: str | None
    command: Command | None
    """`None` for a malformed body, which must end in the dead-letter queue."""
    body: str
    group: str | None = None
    dead: bool = False
    """Whether the message must end in the dead-letter queue."""
    time: datetime | None = None
    """The `time` of an old command; `None`: left out, and the command is minutes old at most."""


def sent(
    command: Command,
    user: str | None,
    name: str = "",
    *,
    group: str | None = None,
    dead: bool = False,
    time: datetime | None = None,
) -> Sent:
    """Create the message of a command; the same name and command give the same id."""
    command_id = uid(f"{name} {command.type} {command_data(command)} {user}")
    body = render_command(
        command.type,
        command_data(command),
        command_id=command_id,
        user_id=uid(user) if user else None,
        source="/test",
        time=time,
    )
    return Sent(command_id, uid(user) if user else None, command, body, group, dead, time)


def malformed(body: str, group: str | None = None) -> Sent:
    """Create a malformed message."""
    return Sent(uid(body), None, None, body, group, dead=True)


class World(Protocol):
    """AWS, the time, and the sent messages."""

    clock: StandingClock
    dynamodb: Any
    sns: Any
    sqs: Any
    table: str
    queue: str
    dead_letter_queue: str
    quarantine_queue: str
    topic_arn: str
    personal_topic_arn: str
    sent: list[Sent]

    def send(self, *messages: Sent) -> None:
        """Put messages on the queue, in order."""
        ...

    def let_time_pass(self) -> None:
        """Advance time until messages are visible, and pointers old enough for the relay."""
        ...

    def items(self) -> Sequence[dict[str, Any]]:
        """Return all stored items."""
        ...

    def published(self, expected: Iterable[str]) -> Sequence[dict[str, Any]]:
        """Return all events of a subscriber, with duplicates; wait for the `expected` ones."""
        ...

    def published_complete(self, expected: Iterable[str]) -> Sequence[dict[str, Any]]:
        """Return the same of a subscriber of the personal topic."""
        ...

    def waiting(self) -> int:
        """Count the messages on the queue, including invisible ones."""
        ...

    def dead_letters(self) -> Sequence[str]:
        """Return the bodies in the dead-letter queue."""
        ...


class InProcessWorld(World):
    """AWS in this process."""

    def __init__(self, *, fifo: bool = False) -> None:
        """Create an empty table, queues and a topic."""
        suffix = ".fifo" if fifo else ""
        self.clock = StandingClock(NOW)
        self.table = "users"
        self.queue, self.dead_letter_queue = f"commands{suffix}", f"commands-dlq{suffix}"
        self.quarantine_queue = f"quarantine{suffix}"
        self.topic_arn = f"arn:aws:sns:us-east-1:000000000000:events{suffix}"
        self.personal_topic_arn = personal_topic_of(self.topic_arn)
        self.dynamodb = InProcessDynamoDB()
        self.sns = InProcessSns()
        self.sqs = InProcessSqs(
            lambda: self.clock.now().timestamp(),
            {self.queue: self.dead_letter_queue},
            self.quarantine_queue,
        )
        self.sent: list[Sent] = []

    def copy(self) -> InProcessWorld:
        """Return an independent world in the same state."""
        other = InProcessWorld(fifo=self.queue.endswith(".fifo"))
        other.clock.time = self.clock.time
        other.dynamodb.items = dict(self.dynamodb.items)  # items are replaced, never changed
        other.sns.published = list(self.sns.published)
        other.sns.personal = list(self.sns.personal)
        other.sqs.queues = copy.deepcopy(self.sqs.queues)
        other.sent = list(self.sent)
        return other

    def state(self) -> object:
        """Return all that a process which starts now finds, to be compared for equality."""
        return (
            self.clock.time,
            *self.dynamodb.state(),
            list(self.sns.published),
            list(self.sns.personal),
            copy.deepcopy(self.sqs.queues),
            list(self.sqs.given_up),
        )

    def send(self, *messages: Sent) -> None:
        """See the protocol. Sent before the grace period, so that no command waits for a user."""
        sent_at = (self.clock.time - AFTER_THE_GRACE).timestamp()
        for message in messages:
            self.sqs.send(self.queue, message.body, message.group, sent_at)
        self.sent += messages

    def let_time_pass(self) -> None:
        """See the protocol."""
        due = [stored.visible_at for stored in self.sqs.queues[self.queue]]
        then = max(due, default=0.0) - self.clock.time.timestamp()
        self.clock.time += max(A_WHILE, timedelta(seconds=then + 1))

    def items(self) -> Sequence[dict[str, Any]]:
        """See the protocol."""
        return list(self.dynamodb.items.values())

    def published(self, expected: Iterable[str]) -> Sequence[dict[str, Any]]:
        """See the protocol."""
        return self.sns.published

    def published_complete(self, expected: Iterable[str]) -> Sequence[dict[str, Any]]:
        """See the protocol."""
        return self.sns.personal

    def waiting(self) -> int:
        """See the protocol."""
        return len(self.sqs.queues[self.queue])

    def dead_letters(self) -> Sequence[str]:
        """See the protocol."""
        originals = {
            stored.attributes[ORIGINAL_ID]["StringValue"]: stored.body
            for stored in self.sqs.queues[self.quarantine_queue]
        }
        bodies = [
            originals[stored.attributes[ORIGINAL_ID]["StringValue"]]
            if QUARANTINED in stored.attributes
            else stored.body
            for stored in self.sqs.queues[self.dead_letter_queue]
        ]
        return bodies + [f"without a reason: {stored.body}" for stored in self.sqs.given_up]
