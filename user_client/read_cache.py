"""A bounded cache of what was read, for answers that may be some seconds old."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """What a cache has done so far."""

    hits: int
    misses: int
    evictions: int
    """Entries that had to go for want of room."""
    entries: int

    @property
    def hit_rate(self) -> float:
        """Give the share of questions answered without a read, 0 to 1; 0 before any question."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0


class ReadCache:
    """The entries used last, each for some seconds; may be shared between threads.

    Args:
        size: the most entries; a user is one, and so is a session.
        seconds: how old an answer may be.
        clock: gives seconds that only grow.

    Raises:
        ValueError: no room, or no time.
    """

    def __init__(
        self,
        size: int = 10_000,
        seconds: float = 10.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if size < 1 or not seconds > 0:
            raise ValueError("a cache needs a size of 1 at least, and seconds above 0")
        self.seconds = seconds
        self._size = size
        self._clock = clock
        self._entries: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()
        self._hits = self._misses = self._evictions = 0
        self._lock = threading.Lock()

    def now(self) -> float:
        """Give the time to keep an entry with: take it before the read, not after."""
        return self._clock()

    def find(self, key: Hashable) -> Any | None:
        """Give what is kept under a key and not too old, or `None`. Counts nothing."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            kept_at, value = entry
            if self._clock() - kept_at >= self.seconds:
                del self._entries[key]
                return None
            self._entries.move_to_end(key)
            return value

    def keep(self, key: Hashable, value: object, read_at: float) -> None:
        """Keep what was read at a time, in place of what was read before it."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry[0] > read_at:
                return
            self._entries[key] = (read_at, value)
            self._entries.move_to_end(key)
            if len(self._entries) > self._size:
                self._entries.popitem(last=False)
                self._evictions += 1

    def forget(self, key: Hashable) -> None:
        """Forget what is kept under a key, and what a read that is under way would keep there."""
        self.keep(key, None, self._clock())

    def count(self, *, hits: int = 0, misses: int = 0) -> None:
        """Count questions that were answered from here, and those that were not."""
        with self._lock:
            self._hits += hits
            self._misses += misses

    @property
    def statistics(self) -> CacheStatistics:
        """Give the counts so far."""
        with self._lock:
            return CacheStatistics(self._hits, self._misses, self._evictions, len(self._entries))

    def observe(self, meter: Meter) -> None:
        """Have OpenTelemetry ask for lookups, evictions and entries, as `user_client.cache.*`.

        Args:
            meter: of the service's own OpenTelemetry, which this library does not bring along.
        """
        from opentelemetry.metrics import Observation  # noqa: PLC0415 - whoever has a meter has it

        def lookups(_: object) -> list[Observation]:
            told = self.statistics
            return [
                Observation(told.hits, {"result": "hit"}),
                Observation(told.misses, {"result": "miss"}),
            ]

        meter.create_observable_counter(
            "user_client.cache.lookups",
            [lookups],
            "{lookup}",
            "Questions, by how they were answered",
        )
        meter.create_observable_counter(
            "user_client.cache.evictions",
            [lambda _: [Observation(self.statistics.evictions)]],
            "{entry}",
            "Entries that had to go for want of room",
        )
        meter.create_observable_gauge(
            "user_client.cache.entries",
            [lambda _: [Observation(self.statistics.entries)]],
            "{entry}",
            "Entries kept now",
        )
