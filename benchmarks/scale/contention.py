"""All commands for one user, simulated: conflicts, receives, and dead letters.

The decisions are the worker's own: how often a batch tries (`MAX_ATTEMPTS`), and when a message is
retried or dead-lettered (`application.retry.decide_disposition`). All messages are for one user, so
those of a receive run together, however often they were received. Time is simulated; a call takes
the time that the benchmark assumes for AWS.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import count
from typing import Final

from application.batch import CONTENDED, MAX_ATTEMPTS
from application.disposition import Retry
from application.retry import decide_disposition
from worker.settings import Settings

SEED: Final = 6
RECEIVE: Final = 10


@dataclass(slots=True)
class _Message:
    sent: float
    receives: int = 0


class _Step(Enum):
    LOAD = auto()
    COMMIT = auto()
    END = auto()


@dataclass(slots=True)
class _Task:
    messages: list[_Message]
    step: _Step = _Step.LOAD
    version: int = 0
    attempts: int = 0


@dataclass(slots=True)
class Run:
    """The result of a run."""

    sent: int = 0
    done: int = 0
    dead: int = 0
    commits: int = 0
    conflicts: int = 0
    receives: Counter[int] = field(default_factory=Counter)
    """By number of receives: commands that were done or dead-lettered at it."""
    waits: list[float] = field(default_factory=list)
    """Seconds from sending to commit."""
    end: float = 0.0

    def wait(self, share: float) -> float:
        """Return the seconds within which a share of the commands is done."""
        return sorted(self.waits)[min(len(self.waits) - 1, int(len(self.waits) * share))]

    @property
    def conflicts_a_commit(self) -> float:
        """Return the cancelled transactions, each billed, per committed one."""
        return self.conflicts / self.commits

    @property
    def mean_receives(self) -> float:
        """Return the mean number of receives of a command."""
        return sum(number * times for number, times in self.receives.items()) / self.sent

    @property
    def most_receives(self) -> int:
        """Return the maximum number of receives of a command."""
        return max(self.receives)


class Contention:
    """Tasks that all write one user."""

    def __init__(self, tasks: int, seed: int = SEED, *, fifo: bool = False) -> None:
        """Take the number of concurrent tasks of all workers; a FIFO group has one at a time."""
        self._draw = random.Random(seed)
        self._free = 1 if fifo else tasks
        self._max_receives = Settings().max_receives
        self._events: list[tuple[float, int, _Task | _Message]] = []
        self._order = count()
        self._visible: list[_Message] = []
        self._version = 0
        self.run = Run()

    def play(self, rate: float, seconds: float) -> Run:
        """Send commands to one user for `seconds`, at random times; run until all have ended."""
        time = 0.0
        while (time := time + self._draw.expovariate(rate)) < seconds:
            self._at(time, _Message(time))
            self.run.sent += 1
        while self._events:
            time, _, what = heapq.heappop(self._events)
            if isinstance(what, _Message):
                self._visible.append(what)
            else:
                self._step(time, what)
            self._start(time)
        return self.run

    def _at(self, time: float, what: _Task | _Message) -> None:
        heapq.heappush(self._events, (time, next(self._order), what))

    def _call(self) -> float:
        return self._draw.uniform(0.005, 0.015)

    def _start(self, time: float) -> None:
        while self._free and self._visible:
            taken = self._visible[:RECEIVE]
            del self._visible[: len(taken)]
            for message in taken:
                message.receives += 1
            self._free -= 1
            self._at(time + self._call(), _Task(taken))

    def _step(self, time: float, task: _Task) -> None:
        match task.step:
            case _Step.LOAD:  # the answer arrives, all is decided, and the transaction is sent
                task.version = self._version
                self._next(time + 2 * self._call(), task, _Step.COMMIT)
            case _Step.COMMIT:
                self._commit(time, task)
            case _Step.END:
                self._free += 1

    def _next(self, time: float, task: _Task, step: _Step) -> None:
        task.step = step
        self._at(time, task)

    def _commit(self, time: float, task: _Task) -> None:
        if task.version == self._version:
            self._version += 1
            self.run.commits += 1
            self._done(time, task)
            return
        self.run.conflicts += 1
        task.attempts += 1
        if task.attempts < MAX_ATTEMPTS:
            pause = self._draw.uniform(0, 0.1 * task.attempts)
            self._next(time + pause + self._call(), task, _Step.LOAD)
        else:
            self._give_back(time, task)

    def _done(self, time: float, task: _Task) -> None:
        for message in task.messages:
            self.run.done += 1
            self.run.receives[message.receives] += 1
            self.run.waits.append(time - message.sent)
        self.run.end = time
        # Published, the pointer deleted, acknowledged.
        self._next(time + 3 * self._call(), task, _Step.END)

    def _give_back(self, time: float, task: _Task) -> None:
        for message in task.messages:
            settlement = decide_disposition(
                CONTENDED, message.receives, self._max_receives, self._draw.uniform
            )
            if isinstance(settlement, Retry):
                self._at(time + settlement.delay, message)
            else:
                self.run.dead += 1
                self.run.receives[message.receives] += 1
        self._next(time + self._call(), task, _Step.END)
