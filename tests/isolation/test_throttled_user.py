"""The commands of other users are processed normally while one user is throttled.

In the full form (USER_WORKER_TEST_FULL=1) there are 2,000 commands, and the rate of the others is
compared with that of a run without throttling; else 300, and only counts are asserted.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from statistics import median
from uuid import uuid4

import pytest

from domain import commands as c
from tests.builders import register
from tests.e2e.proxy import FaultyProxy, ThrottledPartition, UnreadPartition
from tests.e2e.system import THREADS, Message, System, decided, log_lines, message
from tests.e2e.worker_process import WorkerProcess, eventually

pytestmark = [pytest.mark.slow]

FULL = bool(os.environ.get("USER_WORKER_TEST_FULL"))
ORDER = (False, True, True, False, False, True, True, False) if FULL else (True,)
"""Runs without and with throttling, balanced against drift; the medians of their rates count."""
COMMANDS = 2000 if FULL else 300
SHARE = 0.05
"""Fraction of the commands that are for the throttled user."""
GOOD_USERS = 40
RATE = 0.9
"""Minimum rate of the other users, relative to a run without throttling."""


@contextmanager
def _running(
    endpoint: str, folder: Path
) -> Iterator[tuple[System, WorkerProcess, FaultyProxy, str, list[str]]]:
    system = System.create(endpoint, folder)
    with FaultyProxy(endpoint) as proxy, system.worker(THREADS, endpoint=proxy.url) as worker:
        worker.ready()
        users = [str(uuid4()) for _ in range(GOOD_USERS + 1)]
        system.do(*(message(register(uuid4().hex), user) for user in users))
        yield system, worker, proxy, users[0], users[1:]
    system.delete()


def _commands(hot: str, users: Sequence[str]) -> tuple[list[Message], list[Message]]:
    """Return the commands in random order, and those that are not for the throttled user."""
    chance = random.Random(1)
    chosen = [hot] * round(COMMANDS * SHARE)
    chosen += chance.choices(users, k=COMMANDS - len(chosen))
    chance.shuffle(chosen)
    sent = [message(c.UpdateProfile(f"Ada {number}"), user) for number, user in enumerate(chosen)]
    return sent, [each for each in sent if each.user_id != hot]


def _rate(system: System, worker: WorkerProcess, sent: list[Message], good: list[Message]) -> float:
    """Send commands, wait for the outcomes of the good ones, and return these a second.

    The worker's log says when the last one was decided; it is read once a second only, since
    whoever reads it takes processor time from the worker.
    """
    ids = {each.command_id for each in good}
    began = time.time()
    system.send(*sent)
    while len(ended := _ended(worker, ids)) < len(ids):
        assert time.time() - began < 100, f"{len(ids) - len(ended)} commands are not decided"
        time.sleep(1)
    system.outcomes(good)
    return len(good) / (max(ended) - began)


def _ended(worker: WorkerProcess, ids: set[str]) -> list[float]:
    lines = [line for line in decided(worker) if line["command_id"] in ids]
    return [datetime.fromisoformat(line["timestamp"]).timestamp() for line in lines]


@pytest.mark.timeout(900 if FULL else 300)
@pytest.mark.parametrize(
    ("fault", "operation"),
    [(UnreadPartition, "BatchGetItem"), (ThrottledPartition, "TransactWriteItems")],
    ids=["unread keys", "throttled actions"],
)
def test_the_commands_of_other_users_are_processed_at_once(
    aws_endpoint: str,
    tmp_path: Path,
    fault: type[UnreadPartition | ThrottledPartition],
    operation: str,
) -> None:
    """None needs a second receive, the breaker stays closed, and the rate is kept.

    The commands of the throttled user are processed once the throttling has ended.
    """
    rates: dict[bool, list[float]] = {False: [], True: []}
    with _running(aws_endpoint, tmp_path) as (system, worker, proxy, hot, users):
        for throttled in ORDER:
            seen = len(decided(worker))
            sent, good = _commands(hot, users)
            if throttled:
                struck = proxy.inject(fault(f"USER#{hot}"), operation)
                rates[True].append(_rate(system, worker, sent, good))
                lines = decided(worker)[seen:]
                assert {line["receives"] for line in lines if line["user_id"] != hot} == {1}
                assert {line["code"] for line in lines if line["user_id"] == hot} == {"Throttled"}
                assert struck.hits
                assert log_lines(worker, "receiving_stopped") == []
                proxy.clear()
            else:
                rates[False].append(_rate(system, worker, sent, good))
            system.outcomes(sent, 120)
        if FULL:
            print({"throttled" if key else "undisturbed": value for key, value in rates.items()})
            assert median(rates[True]) >= RATE * median(rates[False]), rates
        eventually(system.queues.empty, what="an empty queue")
        assert system.queues.dead_letters(1, seconds=0) == []
