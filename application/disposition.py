"""What becomes of a received message: done, later or dead.

The batch task decides; the transport, which alone holds the receipts, carries it out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NotRequired, TypeAlias, TypedDict


class ReceivedMessage(TypedDict):
    """One SQS message as the transport hands it to the task; it carries no receipt."""

    message_id: str
    body: str
    receives: int
    """ApproximateReceiveCount: 1 on the first delivery."""
    sent_at: float
    """SentTimestamp, in seconds since the epoch."""
    first_received_at: NotRequired[float]
    """ApproximateFirstReceiveTimestamp, in seconds since the epoch."""
    group_id: str | None
    """MessageGroupId; on a FIFO queue, messages of one group apply in order."""
    fifo: bool
    """Whether the queue is FIFO (a group id alone does not say: fair queues have one too)."""
    trace: NotRequired[str]
    """The `traceparent` of the receive, where that is traced."""


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

    `detail` names the field and the rule, never a value. `body` replaces the message's
    body there when it held a secret; `None` leaves it unchanged.
    """

    code: str
    detail: str
    body: str | None = None


Disposition: TypeAlias = Ack | Retry | DeadLetter


@dataclass(frozen=True, slots=True, repr=False)
class Dispositions:
    """The settlements of one batch, in the order of its messages, and what the batch met.

    Celery gives the parent process the `repr` of a task's result and nothing else, so the
    `repr` is the wire format. (Not a tuple: Celery would look inside one for its `repr`.)
    """

    items: tuple[Disposition, ...]
    store: bool | None = None
    """Whether the store answered for any command; `None` if nothing depended on it."""
    topic: bool | None = None
    """Whether the topic took any event; `None` if there was none to publish."""

    def __repr__(self) -> str:
        """Give all of it as JSON."""
        rows = [_render(item) for item in self.items]
        return json.dumps([self.store, self.topic, rows], separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Dispositions:
        """Read back what `repr` wrote.

        Raises:
            ValueError: the text is not that.
        """
        match json.loads(text):
            case [None | bool() as store, None | bool() as topic, list(rows)]:
                return cls(tuple(_parse(row) for row in rows), store, topic)
        raise ValueError("settlements are a JSON list: of store, of topic, and a list")


def _render(settlement: Disposition) -> list[str | int | None]:
    match settlement:
        case Ack():
            return ["done"]
        case Retry(delay):
            return ["later", delay]
        case DeadLetter(code, detail, body):
            return ["dead", code, detail, body]


def _parse(row: object) -> Disposition:
    match row:
        case ["done"]:
            return Ack()
        case ["later", int(delay)]:
            return Retry(delay)
        case ["dead", str(code), str(detail), None | str() as body]:
            return DeadLetter(code, detail, body)
    raise ValueError("not a settlement")
