"""Which messages run together: pure decisions."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias

from application.disposition import ReceivedMessage
from application.retry import delay
from worker.transport.port import RawMessage

APART_FROM = 3
"""The receive from which a message runs apart from other users' messages.

It may be what ended the process that ran it before. Messages of the same user go with it: most that
come back are contended, and running each by itself would only make rivals of them.
"""
PartitionKey: TypeAlias = Callable[[str], str | None]
"""Names, from a message's body, what the message must run together with; `None` for nothing."""

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


def no_partition(_body: str) -> None:
    """Name nothing: each message is a partition of its own."""


def into_batches(
    queue: str,
    messages: Sequence[RawMessage],
    *,
    fifo: bool,
    partition_key: PartitionKey = no_partition,
) -> list[Batch]:
    """Split one receive into batches, keeping its order within each.

    A message at its third receive or later runs apart, with the messages of its partition or, on
    a FIFO queue, of its group: the later ones of a group must wait for it.
    """
    if all(message.receives < APART_FROM for message in messages):
        return [Batch(next(_numbers), queue, tuple(messages))] if messages else []
    units = [_unit(message, partition_key, fifo=fifo) for message in messages]
    apart: dict[str, list[RawMessage]] = {
        unit: []
        for unit, message in zip(units, messages, strict=True)
        if message.receives >= APART_FROM
    }
    together: list[RawMessage] = []
    for unit, message in zip(units, messages, strict=True):
        apart.get(unit, together).append(message)
    parts = [part for part in (together, *apart.values()) if part]
    return [Batch(next(_numbers), queue, tuple(part)) for part in parts]


def probe(queue: str) -> Batch:
    """Return a batch without messages, which only checks that the store answers."""
    return Batch(next(_numbers), queue, ())


def joined(first: Batch, second: Batch, most: int) -> Batch | None:
    """Join two neighbours of a buffer into one task of at most `most` messages, in their order.

    Return `None` if they do not fit, or if one of them has to run apart, or is a probe.
    """
    messages = first.messages + second.messages
    if len(messages) > most or _runs_apart(first) or _runs_apart(second):
        return None
    return Batch(first.number, first.queue, messages)


def _runs_apart(batch: Batch) -> bool:
    suspect = any(message.receives >= APART_FROM for message in batch.messages)
    return suspect or not batch.messages


def _unit(message: RawMessage, partition_key: PartitionKey, *, fifo: bool) -> str:
    """Name what a message must run together with, if it runs apart."""
    if fifo and message.group_id is not None:
        return f"group {message.group_id}"
    try:
        key = partition_key(message.body)
    except Exception:  # noqa: BLE001  # the message runs by itself, and its task says what is wrong
        key = None
    return f"message {message.receipt}" if key is None else f"partition {key}"


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
    if message.first_received_at is not None:
        received["first_received_at"] = message.first_received_at
    if message.trace is not None:
        received["trace"] = message.trace
    return received


def return_delay(batch: Batch) -> int:
    """Return in how many seconds a batch without a result is retried; one delay for all of it.

    At once at first, as a lost child is nobody's fault; from the third receive on with
    growing, jittered delays, or a batch that kills its process would use up all its receives
    within seconds.
    """
    receives = max((message.receives for message in batch.messages), default=0)
    if receives < APART_FROM:
        return 0
    return delay(receives, random.uniform)
