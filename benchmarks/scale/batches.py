"""How many commands share a batch at a rate, simulated: a task's receivers, buffer and children.

The rules are the transport's own: one receiver polls, two more while polls return ten messages. A
receive that arrives while all children are busy waits in a buffer of eight, where it is joined with
the next one to make twenty. A call takes the time that the benchmark assumes for AWS.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from application.queue_port import MAX_BATCH
from benchmarks.scale import cost
from worker.settings import Settings

SEED: Final = 6
SECONDS: Final = 60.0
BATCH_SIZE: Final = Settings().batch_size
RECEIVERS: Final = 3
"""Receivers per queue, by `worker.transport.options`."""
CHILDREN: Final = 4
"""Concurrent batches of a task: `Concurrency` of deploy/service.yaml."""
ROOM: Final = CHILDREN * -(-BATCH_SIZE // MAX_BATCH)
"""Number of receives that the buffer holds."""
BATCH_CALLS: Final = 5
"""A read, a transaction, which takes two calls' time, a publication and a deletion."""
LEAST_TASKS: Final = 2


@dataclass(slots=True)
class _Task:
    rate: float
    draw: random.Random
    waiting: int = 0
    """Messages on the queue."""
    polls: int = 0
    """Receivers with a poll in progress."""
    idle_polls: int = 0
    """Polls that wait for a message."""
    rush: bool = False
    free: int = CHILDREN
    buffer: deque[int] = field(default_factory=deque)
    events: list[tuple[float, int, str, int]] = field(default_factory=list)
    order: int = 0
    batches: int = 0
    commands: int = 0

    def run(self) -> float:
        """Return the mean number of commands per batch, over some time."""
        self._at(self.draw.expovariate(self.rate), "comes")
        self._poll(0.0)
        while self.events and (now := self.events[0][0]) < SECONDS:
            _, _, what, number = heapq.heappop(self.events)
            self._meet(now, what, number)
            self._start(now)
            self._poll(now)
        return self.commands / self.batches if self.batches else 1.0

    def _meet(self, now: float, what: str, number: int) -> None:
        match what:
            case "comes":
                self.waiting += 1
                self._at(now + self.draw.expovariate(self.rate), "comes")
                if self.idle_polls:
                    self.idle_polls -= 1
                    self._take(now)
            case "looks" if self.waiting:
                self._take(now)
            case "looks":
                self.idle_polls += 1
            case "received":
                self.polls -= 1
                self.rush = number == MAX_BATCH
                self.buffer.append(number)
            case _:
                self.free += 1

    def _take(self, now: float) -> None:
        """Assign visible messages to a poll; its answer arrives later."""
        taken = min(self.waiting, MAX_BATCH)
        self.waiting -= taken
        self._at(now + self._half_call(), "received", taken)

    def _poll(self, now: float) -> None:
        while self.polls < (RECEIVERS if self.rush else 1) and len(self.buffer) < ROOM:
            self.polls += 1
            self._at(now + self._half_call(), "looks")

    def _start(self, now: float) -> None:
        while self.free and self.buffer:
            most = BATCH_SIZE if len(self.buffer) > self.free else 0
            batch = self.buffer.popleft()
            while self.buffer and batch + self.buffer[0] <= most:
                batch += self.buffer.popleft()
            self.free -= 1
            self.batches += 1
            self.commands += batch
            self._at(now + 2 * BATCH_CALLS * self._half_call(), "ends")

    def _half_call(self) -> float:
        return self.draw.uniform(0.0025, 0.0075)

    def _at(self, time: float, what: str, number: int = 0) -> None:
        self.order += 1
        heapq.heappush(self.events, (time, self.order, what, number))


@cache
def mean_batch(rate: float, seed: int = SEED) -> float:
    """Return the mean number of commands per batch of one task, at `rate` commands per second."""
    return _Task(rate, random.Random(seed)).run()


def tasks_for(rate: float) -> int:
    """Return the number of tasks planned for `rate` commands per second."""
    return max(LEAST_TASKS, math.ceil(rate * cost.cpu_ms() / 1000 / cost.BUSY))
