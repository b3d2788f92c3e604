"""Several workers process commands that all concern one user.

In the full form (USER_WORKER_TEST_FULL=1) eight workers process 1,000 commands; else three 150.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from domain import commands as c
from tests.builders import register
from tests.e2e.system import THREADS, System, decided, message
from tests.e2e.worker_process import eventually

pytestmark = [pytest.mark.slow]

FULL = bool(os.environ.get("USER_WORKER_TEST_FULL"))
WORKERS = 8 if FULL else 3
COMMANDS = 1000 if FULL else 150
FACTOR = 4
"""Maximum p99 in relation to that of one worker."""


def _p99(endpoint: str, folder: Path, workers: int) -> tuple[float, int]:
    """Return the seconds until 99 % are decided, and the maximum receives of a command."""
    system = System.create(endpoint, folder)
    with ExitStack() as stack:
        running = [stack.enter_context(system.worker(THREADS)) for _ in range(workers)]
        for worker in running:
            worker.ready()
        user = str(uuid4())
        system.do(message(register(uuid4().hex), user))
        sent = [message(c.UpdateProfile(f"Ada {n}"), user) for n in range(COMMANDS)]
        began = time.monotonic()
        system.send(*sent)
        done: dict[str, float] = {}

        def all_decided() -> bool:
            now = time.monotonic()
            for worker in running:
                for line in decided(worker):
                    if line["outcome"] in ("accepted", "duplicate"):
                        done.setdefault(line["command_id"], now - began)
            return len(done) == COMMANDS + 1

        eventually(all_decided, 200, "a decision of each command")
        assert {outcome.status for outcome in system.outcomes(sent)} == {"accepted"}
        assert system.user(user).version == COMMANDS + 1
        eventually(system.queues.empty, what="an empty queue")
        assert system.queues.dead_letters(1, seconds=0) == []
        receives = max(line["receives"] for worker in running for line in decided(worker))
    system.delete()
    return sorted(done.values())[round(len(done) * 0.99) - 1], receives


@pytest.mark.timeout(480)
def test_several_workers_do_not_stand_in_each_others_way(aws_endpoint: str, tmp_path: Path) -> None:
    """Contended commands share commits; few are received more than a few times."""
    alone, _ = _p99(aws_endpoint, tmp_path, 1)
    together, receives = _p99(aws_endpoint, tmp_path, WORKERS)
    print(f"p99: {alone:.1f} s by one, {together:.1f} s by {WORKERS}; {receives} receives at most")
    assert receives <= 8
    if FULL:
        assert together <= FACTOR * alone
