"""How much fits into one call of SQS or SNS, and cutting by it.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Final, TypeVar

T = TypeVar("T")

MAX_ENTRIES: Final = 10
MAX_CALL_BYTES: Final = 262_144
"""Bytes of a call, bodies and attributes together; of SendMessageBatch it is 1 MiB at AWS by now,
and 256 KiB on queues made before."""


def in_calls(
    entries: Iterable[T],
    size: Callable[[T], int],
    apart: Callable[[T], Hashable] | None = None,
) -> Iterator[list[T]]:
    """Cut into calls of at most ten entries and `MAX_CALL_BYTES`; a bigger entry goes alone.

    Args:
        entries: what to send, in order.
        size: gives an entry's bytes.
        apart: gives what no two entries of a call may have in common; nothing, if left out.
    """
    call: list[T] = []
    there: set[Hashable] = set()
    length = 0
    for entry in entries:
        extra = size(entry)
        full = len(call) == MAX_ENTRIES or length + extra > MAX_CALL_BYTES
        if call and (full or (apart is not None and apart(entry) in there)):
            yield call
            call, there, length = [], set(), 0
        call.append(entry)
        length += extra
        if apart is not None:
            there.add(apart(entry))
    if call:
        yield call
