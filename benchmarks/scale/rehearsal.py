"""Compare the simulation of one busy user in `contention.py` with the real handler.

Run it with `python -m benchmarks.scale.rehearsal`.

The worker's own `BatchHandler` in threads, on the store in memory, in real time; calls sleep as
long as they are simulated to take. The result shows whether the simulation is right. It takes
about a minute.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappop, heappush
from typing import Final
from uuid import uuid4

from structlog.testing import capture_logs

from adapters.clock import SystemClock
from adapters.memory import (
    MemoryEventPublisher,
    MemoryOutbox,
    MemoryStore,
    MemoryUserRepository,
)
from application.batch import BatchHandler, Ports
from application.disposition import DeadLetter, ReceivedMessage, Retry
from application.messages import MessageParser, render_command
from application.messages.commands import command_data
from application.repository import CommitReport, LoadRequest, Snapshot, UserChange
from benchmarks.arguments import OneLineParser, errors_in_one_line, whole_number
from benchmarks.scale.contention import RECEIVE, Contention
from benchmarks.workload import PASSWORD_HASH
from domain import commands as c
from domain.values import EmailAddress, PasswordHash
from worker.bootstrap import batch_policy
from worker.settings import Settings

SECONDS: Final = 10
RATES: Final = (10, 50, 100)
TASKS: Final = 8


def _call(calls: int = 1) -> None:
    time.sleep(sum(random.uniform(0.005, 0.015) for _ in range(calls)))


class SlowRepository(MemoryUserRepository):
    """The store in memory with the latency of DynamoDB; it counts commits and conflicts."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.commits = 0
        self.conflicts = 0

    def load(self, request: LoadRequest) -> Snapshot:
        """Wait for a call's time, and load."""
        _call()
        return super().load(request)

    def commit(self, changes: Sequence[UserChange], now: datetime) -> CommitReport:
        """Wait for a transaction's time, that of two calls, and commit at its end."""
        _call(2)
        report = super().commit(changes, now)
        self.conflicts += bool(report.conflicts)
        self.commits += not report.conflicts
        return report


@dataclass(slots=True)
class Queue:
    """Messages by the time from which they are visible."""

    waiting: list[tuple[float, int, str]] = field(default_factory=list)
    receives: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    settled: int = 0

    def send(self, body: str, at: float) -> None:
        """Make a body visible at a time."""
        with self.lock:
            heappush(self.waiting, (at, len(self.receives), body))

    def receive(self) -> list[str]:
        """Receive up to ten visible messages; all are for one user, so they run together."""
        taken: list[str] = []
        with self.lock:
            while self.waiting and self.waiting[0][0] <= time.monotonic() and len(taken) < RECEIVE:
                body = heappop(self.waiting)[2]
                self.receives[body] = self.receives.get(body, 0) + 1
                taken.append(body)
        return taken


@dataclass(frozen=True, slots=True)
class Told:
    """The result of a rehearsal."""

    conflicts_a_commit: float
    mean_receives: float
    dead: int


def rehearse(rate: float, seconds: float = SECONDS, tasks: int = TASKS) -> Told:
    """Run it in real time."""
    user, settings = str(uuid4()), Settings()
    repository = SlowRepository(store := MemoryStore())
    ports = Ports(repository, MemoryOutbox(store), MemoryEventPublisher(), SystemClock())
    handler = BatchHandler(ports, MessageParser(settings.roles), batch_policy(settings))
    address, secret = EmailAddress.parse("star@example.com"), PasswordHash.parse(PASSWORD_HASH)
    first = _body(c.RegisterUser(address, "Katherine", secret, last_name="Lovelace"), user)
    handler.handle([_message(first, 1)])
    repository.commits = 0
    queue, dead = Queue(), deque[str]()
    bodies, at = 0, time.monotonic()
    end = at + seconds
    while (at := at + random.expovariate(rate)) < end:
        queue.send(_body(c.UpdateProfile(f"Ada {bodies}"), user), at)
        bodies += 1

    def work() -> None:
        while queue.settled < bodies:
            taken = queue.receive()
            if not taken:
                time.sleep(0.002)
                continue
            _call()
            answer = handler.handle([_message(body, queue.receives[body]) for body in taken])
            for body, settlement in zip(taken, answer.items, strict=True):
                if isinstance(settlement, Retry):
                    queue.send(body, time.monotonic() + settlement.delay)
                    continue
                dead.extend([body] if isinstance(settlement, DeadLetter) else [])
                with queue.lock:
                    queue.settled += 1
            _call(3)

    threads = [threading.Thread(target=work) for _ in range(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    received = sum(queue.receives.values()) / bodies
    return Told(repository.conflicts / repository.commits, received, len(dead))


def _body(command: c.Command, user: str) -> str:
    data = command_data(command)
    return render_command(
        command.type, data, command_id=str(uuid4()), source="/scale", user_id=user
    )


def _message(body: str, receives: int) -> ReceivedMessage:
    return ReceivedMessage(
        message_id=str(uuid4()),
        body=body,
        receives=receives,
        sent_at=time.time(),
        group_id=None,
        fifo=False,
    )


def main() -> None:
    """Print simulated and real figures side by side."""
    parser = OneLineParser(prog="python -m benchmarks.scale.rehearsal", description=__doc__)
    parser.add_argument(
        "--seconds", type=whole_number(1), default=SECONDS, help="seconds of commands at each rate"
    )
    seconds = parser.parse_args().seconds
    with errors_in_one_line(parser.prog):
        _compare(seconds)


def _compare(seconds: int) -> None:
    for rate in RATES:
        with capture_logs():
            real = rehearse(rate, seconds)
        simulated = Contention(TASKS).play(rate, seconds)
        sys.stdout.write(
            f"{rate:4} commands/s, {TASKS} tasks: conflicts a commit {real.conflicts_a_commit:.2f} "
            f"(simulated {simulated.conflicts_a_commit:.2f}), receives {real.mean_receives:.2f} "
            f"({simulated.mean_receives:.2f}), dead letters {real.dead} ({simulated.dead})\n"
        )


if __name__ == "__main__":
    main()
