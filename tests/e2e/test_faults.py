"""Each AWS operation fails for ten seconds: the worker survives, and every command ends.

Each operation has its own worker, with its own resources behind its own proxy. All run at once.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

from domain import commands as c
from tests.builders import register
from tests.e2e.proxy import (
    Exchange,
    Fault,
    FaultyProxy,
    HalfAnswer,
    LostAnswer,
    Refused,
    Reset,
    Silence,
    Throttled,
    Unavailable,
)
from tests.e2e.system import PREFORK, THREADS, Message, System, event_ids, message
from tests.e2e.worker_process import WorkerProcess, eventually

pytestmark = [pytest.mark.slow]

OUTAGE = 10.0
"""Seconds."""
PACE = 0.5
"""Seconds between two sends, so that every operation is called all the time."""
SILENCE = Silence(12)
"""Longer than the SDK waits for an answer of DynamoDB or SNS."""

SQS_FAULTS: list[Fault] = [
    Unavailable(),
    Throttled("RequestThrottled"),
    Reset(),
    LostAnswer(),
    HalfAnswer(),
    SILENCE,
]
"""Each fault once, because the client of the transport tries once."""


def _persistent(throttled: str) -> list[Fault]:
    """Repeat each fault so that it outlasts a call: the SDK tries three times."""
    faults: list[Fault] = [
        Unavailable(),
        Throttled(throttled),
        Refused(500, "InternalFailure"),
        Reset(),
        LostAnswer(),
        HalfAnswer(),
    ]
    return [fault for fault in faults for _ in range(3)] + [SILENCE]


DYNAMODB_FAULTS = _persistent("ProvisionedThroughputExceededException")
FAULTS: dict[str, Sequence[Fault]] = {
    "ReceiveMessage": SQS_FAULTS,
    "DeleteMessageBatch": SQS_FAULTS,
    "ChangeMessageVisibilityBatch": SQS_FAULTS,
    "BatchGetItem": DYNAMODB_FAULTS,
    "TransactWriteItems": DYNAMODB_FAULTS,
    "DeleteItem": DYNAMODB_FAULTS,
    "PublishBatch": _persistent("Throttling"),
}
PREFORKED = frozenset({"TransactWriteItems"})
RELAYED = frozenset({"DeleteItem", "PublishBatch"})
"""Operations that only the relay can complete if the batch could not."""


@dataclass(slots=True)
class Outage:
    """Applies one fault after another, repeatedly, for ten seconds and until each was used once."""

    faults: Sequence[Fault]
    until: float = float("inf")
    struck: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> None:
        """Start the ten seconds."""
        self.until = time.monotonic() + OUTAGE

    @property
    def over(self) -> bool:
        """Return True if the outage is over."""
        return time.monotonic() >= self.until and self.struck >= len(self.faults)

    def strike(self, exchange: Exchange) -> None:
        """Handle one request by the next fault."""
        with self._lock:
            over, turn = self.over, self.struck % len(self.faults)
            self.struck += not over
        if over:
            exchange.answer(exchange.forward())
        else:
            self.faults[turn].strike(exchange)


@dataclass(slots=True)
class Scene:
    """One failing operation, and the worker that has to tolerate it."""

    operation: str
    system: System
    outage: Outage
    worker: WorkerProcess
    sent: list[Message] = field(default_factory=list)
    unknown: str | None = None
    """A user who is not registered yet, and for whom a command waits."""

    def send(self) -> None:
        """Register the user whose command waits, and send a command for the next user."""
        self.register()
        self.unknown = str(uuid4())
        self._send(message(c.AssignRole("admin"), self.unknown))

    def register(self) -> None:
        """Register the user whose command waits, if there is one."""
        if self.unknown is not None:
            self._send(message(register(self.unknown), self.unknown))
        self.unknown = None

    def _send(self, one: Message) -> None:
        self.system.send(one)
        self.sent.append(one)

    def ends_well(self, deadline: float) -> None:
        """Check that every command has its outcome and events, and that nothing is left over."""

        def left() -> float:
            return max(1.0, deadline - time.monotonic())

        eventually(lambda: self.outage.over, left(), f"the end of the {self.operation} outage")
        outcomes = self.system.outcomes(self.sent, left())
        versions = Counter(outcome.version for outcome in outcomes)
        assert versions == Counter({1: len(self.sent) // 2, 2: len(self.sent) // 2})
        told = self.system.published(outcomes, left())
        eventually(self.system.queues.empty, left(), f"an empty queue after {self.operation}")
        eventually(
            lambda: self.system.outbox.status().pending == 0, left(), f"after {self.operation}"
        )
        assert {event["id"] for event in told} == event_ids(outcomes)
        assert {event["id"] for event in self.system.events()} == event_ids(outcomes)
        assert self.system.outbox.status().parked == ()
        assert self.system.queues.dead_letters(1, seconds=0) == []
        assert self.worker.process.poll() is None, self.worker.log


@contextmanager
def scene(operation: str, endpoint: str, folder: Path) -> Iterator[Scene]:
    """Create the system and worker for an operation; its outage has not started."""
    folder.mkdir()
    system = System.create(endpoint, folder, visibility_timeout=8)
    outage = Outage(FAULTS[operation])
    settings = {
        "VISIBILITY_TIMEOUT": "8",
        "RELAY_AGE": "1",
        "RELAY_INTERVAL": "0.2" if operation in RELAYED else "3",
    }
    options = PREFORK if operation in PREFORKED else THREADS
    with (
        FaultyProxy(endpoint) as proxy,
        system.worker(options, endpoint=proxy.url, **settings) as worker,
    ):
        proxy.inject(outage, operation)
        yield Scene(operation, system, outage, worker)
    system.delete()


@pytest.mark.timeout(240)
def test_ten_seconds_without_an_operation_cost_time_and_nothing_else(
    aws_endpoint: str, tmp_path: Path
) -> None:
    """Each operation has 503, throttling, resets, lost answers, half answers and timeouts.

    The worker keeps running. In the end every command has one outcome, its events are published,
    and the queue, the outbox and the dead-letter queue are empty.
    """
    with ExitStack() as stack:
        scenes = [
            stack.enter_context(scene(operation, aws_endpoint, tmp_path / operation))
            for operation in FAULTS
        ]
        for each in scenes:
            each.worker.ready()
        for each in scenes:
            each.outage.begin()
        ending = time.monotonic() + OUTAGE
        pacer = threading.Event()
        while time.monotonic() < ending:
            for each in scenes:
                each.send()
            pacer.wait(PACE)
        for each in scenes:
            each.register()
        deadline = time.monotonic() + 90
        for each in scenes:
            each.ends_well(deadline)
