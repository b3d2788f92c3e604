"""Which messages run together: pure decisions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from worker.retry import delay
from worker.settlement import ReceivedMessage
from worker.transport.port import RawMessage

ALONE_FROM = 3
"""The receive from which a message runs alone: a poisonous one takes no batch along."""

_numbers = count(1)


class Messages(list[ReceivedMessage]):
    """The task's argument: a list whose `repr` shows no body, since Celery logs its arguments."""

    def __repr__(self) -> str:
        return f"<{len(self)} messages>"


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Messages of one queue that become one task; or none, see `probe`."""

    number: int
    queue: str
    messages: tuple[RawMessage, ...]

    @property
    def receipts(self) -> list[str]:
        """The receipts, in order."""
        return [message.receipt for message in self.messages]

    def __repr__(self) -> str:
        return f"<batch {self.number} of {len(self.messages)} from {self.queue}>"


def into_batches(queue: str, messages: Sequence[RawMessage], *, fifo: bool) -> list[Batch]:
    """Split one receive into batches, keeping its order within each.

    A message at its third receive or later runs alone; on a FIFO queue its group's
    messages go with it, since the later ones must wait for it.
    """
    suspects = [message for message in messages if message.receives >= ALONE_FROM]
    alone: dict[str, list[RawMessage]] = {_unit(message, fifo=fifo): [] for message in suspects}
    together: list[RawMessage] = []
    for message in messages:
        alone.get(_unit(message, fifo=fifo), together).append(message)
    parts = [part for part in (together, *alone.values()) if part]
    return [Batch(next(_numbers), queue, tuple(part)) for part in parts]


def probe(queue: str) -> Batch:
    """Give a batch without messages, which only asks the store whether it answers."""
    return Batch(next(_numbers), queue, ())


def joined(first: Batch, second: Batch, most: int) -> Batch | None:
    """Give two neighbours in a buffer as one task of at most so many messages, in their order.

    `None` if they do not fit, or one of them has to run alone: a suspect, a probe.
    """
    messages = first.messages + second.messages
    if len(messages) > most or _runs_alone(first) or _runs_alone(second):
        return None
    return Batch(first.number, first.queue, messages)


def _runs_alone(batch: Batch) -> bool:
    suspect = any(message.receives >= ALONE_FROM for message in batch.messages)
    return suspect or not batch.messages


def _unit(message: RawMessage, *, fifo: bool) -> str:
    """Name what must not be torn apart: the group on a FIFO queue, else the message itself."""
    if fifo and message.group_id is not None:
        return f"group {message.group_id}"
    return f"message {message.receipt}"


def as_task_argument(batch: Batch, *, fifo: bool) -> Messages:
    """Render a batch for the task, without receipts."""
    return Messages(_received(message, fifo=fifo) for message in batch.messages)


def _received(message: RawMessage, *, fifo: bool) -> ReceivedMessage:
    received = ReceivedMessage(
        message_id=message.message_id,
        body=message.body,
        receives=message.receives,
        sent_at=message.sent_at,
        group_id=message.group_id,
        fifo=fifo,
    )
    if message.trace is not None:
        received["trace"] = message.trace
    return received


def return_delay(batch: Batch) -> int:
    """Say in how many seconds a batch without a result comes back; one delay for all of it.

    At once at first, as a lost child is nobody's fault; from the third receive on with
    growing, jittered delays, or a batch that kills its process would spend all its receives
    within seconds.
    """
    receives = max((message.receives for message in batch.messages), default=0)
    if receives < ALONE_FROM:
        return 0
    return delay(receives, random.uniform)
