"""The bounded buffer between the receive threads and the main thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Condition

from worker.transport.batching import Batch, joined


class Buffer:
    """Batches that are received and not started; thread-safe.

    It is full from `limit()` batches on, which stops the receiving; each receive in progress may
    exceed the limit by the batches it is split into. Once closed, it accepts nothing more.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._batches: deque[Batch] = deque()
        self._closed = False
        self._in_burst = False
        self._changed = Condition()

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def wait_for_room(self, *, in_burst: bool = False) -> bool:
        """Block until there is room; return False if the buffer was closed instead.

        With `in_burst`, also block until there is a burst.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._may_receive(in_burst))
            return not self._closed

    def _may_receive(self, in_burst: bool) -> bool:  # noqa: FBT001
        return (self._in_burst or not in_burst) and len(self._batches) < self._limit()

    def burst(self, is_on: bool) -> None:  # noqa: FBT001
        """Set whether the last poll was full, so that more messages may be waiting."""
        with self._changed:
            if self._in_burst != is_on:
                self._in_burst = is_on
                self._changed.notify_all()

    def wait_closed(self, seconds: float) -> bool:
        """Block until the buffer is closed, at most `seconds`; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed, seconds)

    def put(self, batch: Batch) -> bool:
        """Add a batch; return False, and add nothing, if the buffer is closed."""
        with self._changed:
            if not self._closed:
                self._batches.append(batch)
            return not self._closed

    def take(self, join_up_to: int) -> Batch | None:
        """Remove and return the oldest batch, or `None`, without waiting.

        Batches behind it are joined to it while the total is at most `join_up_to` messages.
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
        """Accept nothing more, and return the batches that were waiting."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            waiting = list(self._batches)
            self._batches.clear()
            return waiting
