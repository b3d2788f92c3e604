"""A seeded schedule of attacks on processes, connections and the queue.

Kinds are drawn from shuffled decks, so that a short run has nearly all of them. Every attack ends
before the run does.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeVar

from tests.e2e.proxy import (
    ANY,
    Fault,
    HalfAnswer,
    Junk,
    LostAnswer,
    Refused,
    Reset,
    Silence,
    Slow,
    Throttled,
    Unavailable,
)

T = TypeVar("T")
Blow = Literal["SIGKILL", "SIGKILL to all", "SIGKILL to a child", "SIGSTOP", "SIGTERM"]
BLOWS: tuple[Blow, ...] = (
    "SIGKILL",
    "SIGKILL to all",
    "SIGKILL to a child",
    "SIGKILL to a child",
    "SIGSTOP",
    "SIGTERM",
)
OPERATIONS = (
    ANY,
    ANY,
    "ReceiveMessage",
    "DeleteMessageBatch",
    "ChangeMessageVisibilityBatch",
    "SendMessageBatch",
    "BatchGetItem",
    "TransactWriteItems",
    "TransactWriteItems",
    "DeleteItem",
    "PublishBatch",
)
TROUBLES = (
    "503",
    "500",
    "throttled",
    "reset",
    "lost answer",
    "lost answer",
    "half answer",
    "junk",
    "silence",
    "slow",
)
VISIBILITY_TIMEOUTS = (1, 2, 3, 4, 6)
"""Visibility timeouts, in seconds, to which the queues are set."""
EVERYBODY = -1


@dataclass(frozen=True, slots=True)
class ProcessAttack:
    """An attack on one worker's processes. Times are seconds, `at` from the start."""

    at: float
    worker: int
    blow: Blow
    pause: float
    """How long it is stopped, or the time before its restart."""


@dataclass(frozen=True, slots=True)
class NetworkAttack:
    """An attack on one worker's connections, or on those of all workers."""

    at: float
    worker: int
    trouble: str
    operation: str
    seconds: float

    def fault(self) -> Fault:
        """Return the proxy's fault."""
        return fault_of(self.trouble, self.operation)


@dataclass(frozen=True, slots=True)
class QueueAttack:
    """A change of the queues' visibility timeout, in seconds."""

    at: float
    timeout: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """All attacks of a run, and the version of the settings for each start of a worker."""

    processes: tuple[ProcessAttack, ...]
    network: tuple[NetworkAttack, ...]
    queue: tuple[QueueAttack, ...]
    versions: tuple[tuple[int, ...], ...]
    """By worker and start."""


def make_schedule(seed: int, seconds: float, workers: int, versions: int) -> Schedule:
    """Draw a schedule for this number of workers and versions of the settings."""
    chance = random.Random(f"schedule {seed}")
    blows, readiness_issues = _deck(chance, BLOWS), _deck(chance, TROUBLES)
    operations = _deck(chance, OPERATIONS)
    processes: list[ProcessAttack] = []
    network: list[NetworkAttack] = []
    for worker in range(workers):
        processes += _processes(chance, worker, seconds, blows)
        times = _windows(chance, seconds, (1.0, 6.0))
        network += _network(chance, worker, times, zip(readiness_issues, operations, strict=True))
    times = _windows(chance, seconds, (8.0, 20.0))
    network += _network(chance, EVERYBODY, times, zip(readiness_issues, operations, strict=True))
    queue = [
        QueueAttack(at, chance.choice(VISIBILITY_TIMEOUTS))
        for at, _ in _windows(chance, seconds, (4.0, 12.0))
    ]
    starts = tuple(_rounds(chance, versions, worker) for worker in range(workers))
    return Schedule(tuple(processes), tuple(network), tuple(queue), starts)


def _rounds(chance: random.Random, versions: int, worker: int) -> tuple[int, ...]:
    """Return versions for a thousand starts; the workers begin with different ones."""
    first = worker % versions
    return (first, *(chance.randrange(versions) for _ in range(999)))


def _windows(
    chance: random.Random, seconds: float, pause: tuple[float, float]
) -> Iterator[tuple[float, float]]:
    """Yield the start of each attack, and the time by which it must end."""
    times = [2.0 + chance.uniform(0, pause[0])]
    while times[-1] < seconds - 1:
        times.append(times[-1] + chance.uniform(*pause))
    times[-1] = seconds
    yield from pairwise(times)


def _processes(
    chance: random.Random, worker: int, seconds: float, blows: Iterator[Blow]
) -> Iterator[ProcessAttack]:
    for at, until in _windows(chance, seconds, (6.0, 14.0)):
        blow = next(blows)
        longest = min(8.0, until - at)
        pause = chance.uniform(longest / 2, longest) if blow == "SIGSTOP" else chance.random()
        yield ProcessAttack(at, worker, blow, pause)


def _network(
    chance: random.Random,
    worker: int,
    windows: Iterator[tuple[float, float]],
    kinds: Iterator[tuple[str, str]],
) -> Iterator[NetworkAttack]:
    for at, until in windows:
        trouble, operation = next(kinds)
        lasting = min(chance.uniform(1.0, 5.0), until - at)
        yield NetworkAttack(at, worker, trouble, operation, lasting)


def _deck(chance: random.Random, kinds: Sequence[T]) -> Iterator[T]:
    """Yield kinds without end, each as often as any other; one deck serves all workers."""
    while True:
        yield from chance.sample(kinds, len(kinds))


def fault_of(trouble: str, operation: str) -> Fault:
    """Create the fault of a kind of trouble, with the error code of the operation's service.

    Raises:
        KeyError: There is no such kind of trouble.
    """
    code = {
        ANY: "ThrottlingException",
        "PublishBatch": "Throttling",
        "BatchGetItem": "ProvisionedThroughputExceededException",
        "TransactWriteItems": "ProvisionedThroughputExceededException",
        "DeleteItem": "ProvisionedThroughputExceededException",
    }.get(operation, "RequestThrottled")
    faults: dict[str, Fault] = {
        "503": Unavailable(),
        "500": Refused(500, "InternalFailure"),
        "throttled": Throttled(code),
        "reset": Reset(),
        "lost answer": LostAnswer(),
        "half answer": HalfAnswer(),
        "junk": Junk(),
        "silence": Silence(6),
        "slow": Slow(1.5),
    }
    return faults[trouble]
