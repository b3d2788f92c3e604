"""A bounded cache of users and sessions, for reads that may be some seconds old."""

from __future__ import annotations

import importlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """Counts of a cache."""

    hits: int
    misses: int
    evictions: int
    """Entries that were evicted because the cache was full."""
    entries: int

    @property
    def hit_rate(self) -> float:
        """Return the share of lookups answered by the cache, 0 to 1; 0 before any lookup."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0


class ReadCache:
    """A least-recently-used cache whose entries expire after some seconds; thread-safe.

    Args:
        size: maximum number of entries; a user is one, and so is a session.
        seconds: maximum age of an entry.
        clock: returns seconds of a monotonic clock.

    Raises:
        ValueError: `size` is less than 1, or `seconds` is not above 0.
    """

    def __init__(
        self,
        size: int = 10_000,
        seconds: float = 10.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if size < 1 or not seconds > 0:
            raise ValueError("the size of a cache must be at least 1, and its seconds above 0")
        self.seconds = seconds
        self._size = size
        self._clock = clock
        self._entries: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()
        self._hits = self._misses = self._evictions = 0
        self._lock = threading.Lock()

    def now(self) -> float:
        """Return the time to store an entry with: call it before the read, not after."""
        return self._clock()

    def find(self, key: Hashable) -> Any | None:
        """Return the entry for a key if it is not too old, or `None`. Changes no count."""
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
        """Store a value that was read at `read_at`, unless a later read is stored."""
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
        """Invalidate a key, also for a read in progress that would store an older value."""
        self.keep(key, None, self._clock())

    def count(self, *, hits: int = 0, misses: int = 0) -> None:
        """Count lookups that the cache answered, and those that it did not."""
        with self._lock:
            self._hits += hits
            self._misses += misses

    @property
    def statistics(self) -> CacheStatistics:
        """Return the current counts."""
        with self._lock:
            return CacheStatistics(self._hits, self._misses, self._evictions, len(self._entries))

    def observe(self, meter: Any) -> None:
        """Register lookups, evictions and entries with OpenTelemetry, as `biome_users.cache.*`.

        Args:
            meter: a meter of the service's OpenTelemetry, which this library does not depend on.
        """
        # a meter implies that OpenTelemetry, which is not a dependency, is installed
        observation: Any = importlib.import_module("opentelemetry.metrics").Observation

        def lookups(_: object) -> list[Any]:
            statistics = self.statistics
            return [
                observation(statistics.hits, {"result": "hit"}),
                observation(statistics.misses, {"result": "miss"}),
            ]

        meter.create_observable_counter(
            "biome_users.cache.lookups",
            [lookups],
            "{lookup}",
            "Lookups in the cache, by result",
        )
        meter.create_observable_counter(
            "biome_users.cache.evictions",
            [lambda _: [observation(self.statistics.evictions)]],
            "{entry}",
            "Entries evicted because the cache was full",
        )
        meter.create_observable_gauge(
            "biome_users.cache.entries",
            [lambda _: [observation(self.statistics.entries)]],
            "{entry}",
            "Entries in the cache",
        )
