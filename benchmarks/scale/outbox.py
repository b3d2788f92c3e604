"""The outbox's shards, simulated: when one is full, and how long a pointer waits for the relay.

A shard is one partition key, and its sort keys grow with time, so DynamoDB cannot split it: it
accepts a thousand write units per second, whatever the table accepts.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from application.relay import MAX_PAGES, PAGE
from benchmarks.scale.growth import PARTITION_WRITES
from benchmarks.scale.measured import REGISTRATION, footprint
from worker.settings import Settings

SEED: Final = 6
SECONDS: Final = 600
POINTER_SECONDS: Final = 0.012
"""Seconds of the relay for one pointer of ten commands: ten such pointers are one read, ten
publications and one deletion, 10 ms each."""


def capacity(shards: int, batch: int) -> float:
    """Return the commands per second at which the evenly filled shards are full."""
    return shards * PARTITION_WRITES / footprint(REGISTRATION, batch).pointer_units


def overfull(rate: float, shards: int, batch: int, seed: int = SEED) -> float:
    """Return the share of seconds and shards in which more is written than a partition accepts.

    Each transaction draws its shard, as `new_entry` does, and its pointer is written and deleted
    within the second. DynamoDB's burst capacity, which is best effort, is left out.
    """
    draw = random.Random(seed)
    units = footprint(REGISTRATION, batch).pointer_units * batch
    transactions = rate / batch
    bad = 0
    for _ in range(SECONDS):
        # Poisson numbers, approximated by the normal distribution, which is accurate for hundreds.
        counts = (
            draw.gauss(transactions / shards, math.sqrt(transactions / shards))
            for _ in range(shards)
        )
        bad += sum(count * units > PARTITION_WRITES for count in counts)
    return bad / (SECONDS * shards)


@dataclass(frozen=True, slots=True)
class Lag:
    """Seconds from a crash to the publication of its pointers, by share of the pointers."""

    median: float
    p99: float
    worst: float


def looks(workers: int, shards: int, draw: random.Random) -> Iterator[tuple[float, int]]:
    """Yield time and shard of each read: each worker alone, as `Relay` and its outbox do."""
    interval = Settings().relay_interval
    orders = [draw.sample(range(shards), shards) for _ in range(workers)]
    turns = [(interval * draw.uniform(0, 1.5), worker, 0) for worker in range(workers)]
    heapq.heapify(turns)
    while True:
        time, worker, turn = heapq.heappop(turns)
        yield time, orders[worker][turn % shards]
        heapq.heappush(turns, (time + interval * draw.uniform(0.5, 1.5), worker, turn + 1))


def crash_lag(workers: int, shards: int, entries: int = 20_000, seed: int = SEED) -> Lag:
    """Simulate pointers left behind at any time, in any shard, a few at a time."""
    draw = random.Random(seed)
    age = Settings().relay_age
    span = 100 * shards * Settings().relay_interval / workers
    left = sorted((draw.uniform(0, span), draw.randrange(shards)) for _ in range(entries))
    waiting: list[list[float]] = [[] for _ in range(shards)]
    lags: list[float] = []
    at = 0
    for time, shard in looks(workers, shards, draw):
        while at < entries and left[at][0] + age <= time:
            waiting[left[at][1]].append(left[at][0])
            at += 1
        lags += [time - each for each in waiting[shard]]
        waiting[shard].clear()
        if at == entries and not any(waiting):
            break
    lags.sort()
    return Lag(lags[len(lags) // 2], lags[int(len(lags) * 0.99)], lags[-1])


def backlog(outage: float, workers: int) -> int:
    """Return the number of pointers that an outage of SNS leaves.

    A worker whose events are not published receives up to ten messages once a second, and each such
    receive leaves one pointer.
    """
    return round(outage * workers)


def drained(entries: int, workers: int, shards: int, seed: int = SEED) -> float:
    """Return the seconds until the relays have processed pointers that are all old enough.

    A read processes a shard, a thousand pointers at most. Two workers on one shard do the same work
    twice, which is harmless but wasted. After its first pause a relay continues without one.
    """
    draw = random.Random(seed)
    left = [entries // shards + (shard < entries % shards) for shard in range(shards)]
    free = [0.0] * workers
    interval = Settings().relay_interval
    orders = [draw.sample(range(shards), shards) for _ in range(workers)]
    turns = [0] * workers
    end = 0.0
    busy = [0.0] * shards
    while any(left):
        worker = min(range(workers), key=free.__getitem__)
        shard = orders[worker][turns[worker] % shards]
        turns[worker] += 1
        start = free[worker] + (0.0 if turns[worker] > 1 else interval * draw.uniform(0.5, 1.5))
        done = 0 if start < busy[shard] else min(left[shard], PAGE * MAX_PAGES)
        twice = min(left[shard], PAGE * MAX_PAGES) if start < busy[shard] else 0
        free[worker] = start + (done + twice) * POINTER_SECONDS
        if done:
            left[shard] -= done
            busy[shard] = end = max(end, free[worker])
    return end
