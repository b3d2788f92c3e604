"""The small bounded buffer between the receive threads and the main thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Condition

from worker.transport.batching import Batch, joined


class Buffer:
    """Batches received and not yet started; any thread may call any method.

    It is full from `limit()` batches on, and a full one stops the receiving: each receive under
    way may overshoot by the batches it is split into. Closed once and for all, it takes nothing
    more.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._batches: deque[Batch] = deque()
        self._closed = False
        self._rush = False
        self._changed = Condition()

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def wait_for_room(self, *, in_burst: bool = False) -> bool:
        """Block until there is room; `False` when the buffer was closed instead.

        With `in_burst`, block until there is a rush as well.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._may_receive(in_burst))
            return not self._closed

    def _may_receive(self, in_burst: bool) -> bool:  # noqa: FBT001
        return (self._rush or not in_burst) and len(self._batches) < self._limit()

    def burst(self, is_on: bool) -> None:  # noqa: FBT001
        """Say whether the last poll brought as much as it could: then there may be more."""
        with self._changed:
            if self._rush != is_on:
                self._rush = is_on
                self._changed.notify_all()

    def wait_closed(self, seconds: float) -> bool:
        """Block until the buffer is closed, at most `seconds`; say whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed, seconds)

    def put(self, batch: Batch) -> bool:
        """Add a batch; `False`, adding nothing, when the buffer was closed."""
        with self._changed:
            if not self._closed:
                self._batches.append(batch)
            return not self._closed

    def take(self, join_up_to: int) -> Batch | None:
        """Give the oldest batch, if any, without waiting.

        Those behind it come along as far as they may and make at most `join_up_to` messages.
        """
        with self._changed:
            if not self._batches:
                return None
            self._changed.notify_all()
            batch = self._batches.popleft()
            while self._batches and (both := joined(batch, self._batches[0], join_up_to)):
                batch = both
                self._batches.popleft()
            return batch

    def close(self) -> list[Batch]:
        """Take nothing more and give what was waiting."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            waiting = list(self._batches)
            self._batches.clear()
            return waiting
