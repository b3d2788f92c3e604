"""Decide which messages run together; pure functions."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias

from application.disposition import ReceivedMessage
from application.queue_port import RawMessage
from application.retry import delay

APART_FROM = 3
"""The receive from which a message runs apart from the messages of other users.

It may have ended the process that ran it before. Messages of the same user run with it: most of
those that are retried are contended, and running them separately would make them compete.
"""
PartitionKey: TypeAlias = Callable[[str], str | None]
"""Returns, from a message's body, a key of messages that must run together; `None` for no key."""

_numbers = count(1)


class Messages(list[ReceivedMessage]):
    """The task's argument: a list whose `repr` shows no body, since Celery logs its arguments."""

    def __repr__(self) -> str:
        return f"<{len(self)} messages>"


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Messages of one queue that become one task; without messages, a probe (see `probe`)."""

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
    """Return no key: each message is a partition of its own."""


def into_batches(
    queue: str,
    messages: Sequence[RawMessage],
    *,
    fifo: bool,
    partition_key: PartitionKey = no_partition,
) -> list[Batch]:
    """Split one receive into batches, keeping its order within each batch.

    A message at its third receive or later runs apart, with the messages of its partition or, on a
    FIFO queue, of its group: the later messages of a group must wait for it.
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
    """Join two adjacent batches of a buffer into one task of at most `most` messages, in order.

    Return `None` if they do not fit, or if one of them must run apart or is a probe.
    """
    messages = first.messages + second.messages
    if len(messages) > most or runs_apart(first) or runs_apart(second):
        return None
    return Batch(first.number, first.queue, messages)


def runs_apart(batch: Batch) -> bool:
    """Return True if no other message may run with this batch."""
    suspect = any(message.receives >= APART_FROM for message in batch.messages)
    return suspect or not batch.messages


def _unit(message: RawMessage, partition_key: PartitionKey, *, fifo: bool) -> str:
    """Return the key of the messages that must run together with this one, if it runs apart."""
    if fifo and message.group_id is not None:
        return f"group {message.group_id}"
    try:
        key = partition_key(message.body)
    except Exception:  # noqa: BLE001 - the message runs alone, and its task reports the error
        key = None
    return f"message {message.receipt}" if key is None else f"partition {key}"


def as_task_argument(batch: Batch, *, fifo: bool) -> Messages:
    """Return a batch as the task's argument, without receipts."""
    return Messages(_received(message, batch.queue, fifo=fifo) for message in batch.messages)


def _received(message: RawMessage, queue: str, *, fifo: bool) -> ReceivedMessage:
    received = ReceivedMessage(
        message_id=message.message_id,
        body=message.body,
        receives=message.receives,
        sent_at=message.sent_at,
        group_id=message.group_id,
        fifo=fifo,
        queue=queue,
    )
    if message.principal is not None:
        received["principal"] = message.principal
    if message.first_principal is not None:
        received["first_principal"] = message.first_principal
    if message.original_sent_at is not None:
        received["original_sent_at"] = message.original_sent_at
    if message.first_received_at is not None:
        received["first_received_at"] = message.first_received_at
    if message.trace is not None:
        received["trace"] = message.trace
    return received


def return_delay(batch: Batch) -> int:
    """Return the seconds until a batch without a result is retried; one delay for all messages.

    At first at once, since a lost child is not the message's fault; from the third receive on with
    growing, jittered delays, because otherwise a batch that ends its process would use up all its
    receives within seconds.
    """
    receives = max((message.receives for message in batch.messages), default=0)
    if receives < APART_FROM:
        return 0
    return delay(receives, random.uniform)
