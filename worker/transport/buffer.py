"""The bounded buffer between the receive threads and the main thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition
from time import monotonic

from application.queue_port import MAX_BATCH
from worker.transport.batching import Batch, joined, runs_apart

SHORTEST_PAUSE = 0.01
"""Seconds between two polls for the same batch, at least."""
LAST_POLL = 0.02
"""Seconds before a waiting batch starts at which the last poll for it begins: about two calls."""
CLOCK_TOLERANCE = 0.001
"""Seconds that a timer may be early."""


@dataclass(slots=True)
class Waiting:
    """A batch that is not started."""

    batch: Batch
    since: float
    """Time from which its first message waits: when it was put, or could have been received."""


class Buffer:
    """Batches that are received and not started; thread-safe.

    It is full from `limit()` receives on, which stops the receiving; each receive in progress may
    exceed the limit by the batches it is split into. Once closed, it accepts nothing more.

    The oldest batch may wait up to `wait()` seconds for more messages, which are joined to it as
    they arrive, up to `full` messages. It waits only while more can be joined: not if it is full,
    if it must run apart, or if there is a batch behind it that does not fit. It occupies no task
    meanwhile.
    """

    def __init__(
        self,
        limit: Callable[[], int],
        *,
        wait: Callable[[], float] = lambda: 0.0,
        full: int = MAX_BATCH,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._limit = limit
        self._wait = wait
        self._full = full
        self._clock = clock
        self._batches: deque[Waiting] = deque()
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
        # an incomplete receive counts, until it is full, as one
        receives = sum(max(1, len(each.batch.messages) // MAX_BATCH) for each in self._batches)
        return (self._in_burst or not in_burst) and receives < self._limit()

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

    def put(self, batch: Batch, waits_since: float | None = None) -> bool:
        """Add a batch; return False, and add nothing, if the buffer is closed.

        `waits_since` is the time from which its messages may have waited for a receiver that paused
        (see `pause`). The pause counts as part of the batch's wait.
        """
        with self._changed:
            if self._closed:
                return False
            last = self._batches[-1] if self._batches and self._wait() > 0 else None
            if last is not None and (both := joined(last.batch, batch, self._full)):
                last.batch = both
            else:
                since = self._clock() if waits_since is None else waits_since
                self._batches.append(Waiting(batch, since))
            return True

    def take(self, join_up_to: int) -> Batch | None:
        """Remove and return the oldest batch; return `None` if none may start now.

        Batches behind it are joined to it while the total is at most `join_up_to` messages.
        """
        with self._changed:
            if not self._batches or self._remaining() > 0:
                return None
            self._changed.notify_all()
            batch = self._batches.popleft().batch
            while self._batches and (both := joined(batch, self._batches[0].batch, join_up_to)):
                batch = both
                self._batches.popleft()
            return batch

    def starts_in(self) -> float | None:
        """Return the seconds until the oldest batch may start; `None` if there is no batch."""
        with self._changed:
            return self._remaining() if self._batches else None

    def pause(self) -> float:
        """Return the seconds until it is worth to poll again for the batch that waits.

        That is as long as it has waited so far: a poll returns as soon as one message is there, so
        that polling at once would bring one message a call. A batch that could be full is found in
        twice the time that its messages took to arrive.
        """
        with self._changed:
            remaining = self._remaining() if self._batches and not self._in_burst else 0.0
            if remaining <= 0:
                return 0.0
            waited = self._clock() - self._batches[0].since
            return max(0.0, min(max(waited, SHORTEST_PAUSE), remaining - LAST_POLL))

    def _remaining(self) -> float:
        """Return the seconds for which the oldest batch must still wait."""
        oldest, wait = self._batches[0], self._wait()
        full = len(oldest.batch.messages) >= self._full
        if wait <= 0 or full or len(self._batches) > 1 or runs_apart(oldest.batch):
            return 0.0
        seconds = oldest.since + wait - self._clock()
        return seconds if seconds > CLOCK_TOLERANCE else 0.0

    def close(self) -> list[Batch]:
        """Accept nothing more, and return the batches that were waiting."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            waiting = [each.batch for each in self._batches]
            self._batches.clear()
            return waiting
