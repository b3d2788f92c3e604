"""Disposition of a received message: acknowledge, retry or dead-letter.

The batch task decides; the transport, which alone holds the receipt handles, carries it out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NotRequired, TypeAlias, TypedDict


class ReceivedMessage(TypedDict):
    """One SQS message as the transport passes it to the task, without its receipt handle."""

    message_id: str
    body: str
    receives: int
    """ApproximateReceiveCount: 1 on the first delivery."""
    sent_at: float
    """SentTimestamp, in seconds since the epoch."""
    original_sent_at: NotRequired[float]
    """SentTimestamp of the first sending, as stated by a redrive; any sender can state it."""
    first_received_at: NotRequired[float]
    """ApproximateFirstReceiveTimestamp, in seconds since the epoch."""
    group_id: str | None
    """MessageGroupId; on a FIFO queue, messages of one group apply in order."""
    fifo: bool
    """Whether the queue is FIFO. A group id alone does not tell: fair queues have one too."""
    queue: NotRequired[str]
    """The name of the command queue that it came from."""
    principal: NotRequired[str]
    """The unique id of the role or user that sent it, as SQS reports it."""
    first_principal: NotRequired[str]
    """The principal that first sent it, as stated by a redrive; any sender can state one."""
    trace: NotRequired[str]
    """The `traceparent` of the receive call, if that call is traced."""


@dataclass(frozen=True, slots=True)
class Ack:
    """Delete the message."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Make the message visible again after `delay` seconds (0 to 43,200)."""

    delay: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Send the message to the dead-letter queue, then delete it.

    `detail` names the field and the rule, never a value.
    """

    code: str
    detail: str
    body: str | None = None
    """Replaces the message's body in the dead-letter queue; the message itself goes to the
    quarantine queue first. `None` leaves the body unchanged."""
    complete: bool = True
    """Whether `body` contains the whole command."""
    principal: str | None = None
    """The verified principal of the first sender; `None` if it is unknown."""


Disposition: TypeAlias = Ack | Retry | DeadLetter


@dataclass(frozen=True, slots=True, repr=False)
class Dispositions:
    """The dispositions of a batch, in the order of its messages; the state of store and topic.

    Celery passes only the `repr` of a task's result to the parent process, so the `repr` is the
    wire format. (Not a tuple: Celery would inspect a tuple's items for its `repr`.)
    """

    items: tuple[Disposition, ...]
    store: bool | None = None
    """Whether the store answered for any command; `None` if no command depended on it."""
    topic: bool | None = None
    """Whether the topic accepted any event; `None` if there was no event to publish."""

    def __repr__(self) -> str:
        """Return the whole value as JSON."""
        rows = [_render(item) for item in self.items]
        return json.dumps([self.store, self.topic, rows], separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Dispositions:
        """Parse what `repr` returned.

        Raises:
            ValueError: the text has another form.
        """
        match json.loads(text):
            case [None | bool() as store, None | bool() as topic, list(rows)]:
                return cls(tuple(_parse(row) for row in rows), store, topic)
        raise ValueError("dispositions must be a JSON list of store, topic and a list")


def _render(disposition: Disposition) -> list[str | int | None]:
    match disposition:
        case Ack():
            return ["done"]
        case Retry(delay):
            return ["later", delay]
        case DeadLetter(code, detail, body, complete, principal):
            return ["dead", code, detail, body, complete, principal]


def _parse(row: object) -> Disposition:
    match row:
        case ["done"]:
            return Ack()
        case ["later", int(delay)]:
            return Retry(delay)
        case [
            "dead",
            str(code),
            str(detail),
            None | str() as body,
            bool(complete),
            None | str() as principal,
        ]:
            return DeadLetter(code, detail, body, complete, principal)
    raise ValueError("unknown disposition")
