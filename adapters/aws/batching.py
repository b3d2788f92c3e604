"""Split entries into calls of SQS or SNS that stay within the limits of one call.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Final, TypeVar

from application.queue_port import MAX_BATCH

T = TypeVar("T")

MAX_CALL_BYTES: Final = 262_144
"""Bytes of bodies and attributes in one call. SendMessageBatch accepts 1 MiB at AWS now, but only
256 KiB on queues created before that change."""


def in_calls(
    entries: Iterable[T],
    size: Callable[[T], int],
    apart: Callable[[T], Hashable] | None = None,
) -> Iterator[list[T]]:
    """Yield calls of at most ten entries and `MAX_CALL_BYTES`; a larger entry goes alone.

    Args:
        entries: the entries to send, in order.
        size: returns the size of an entry in bytes.
        apart: returns a key that no two entries of a call may share; no such rule if left out.
    """
    call: list[T] = []
    there: set[Hashable] = set()
    length = 0
    for entry in entries:
        extra = size(entry)
        full = len(call) == MAX_BATCH or length + extra > MAX_CALL_BYTES
        if call and (full or (apart is not None and apart(entry) in there)):
            yield call
            call, there, length = [], set(), 0
        call.append(entry)
        length += extra
        if apart is not None:
            there.add(apart(entry))
    if call:
        yield call
