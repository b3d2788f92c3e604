"""One throttled user: the commands of all others are processed as if nothing had happened.

In the full form (USER_WORKER_TEST_FULL=1) there are 2,000 commands, and the rate of the others is
compared with that of a run without throttling; else 300, and only counts are asserted.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from uuid import uuid4

import pytest

from domain import commands as c
from tests.builders import register
from tests.e2e.proxy import FaultyProxy, ThrottledPartition, UnreadPartition
from tests.e2e.system import THREADS, Message, System, decided, log_lines, message
from tests.e2e.worker_process import WorkerProcess, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.aws, pytest.mark.slow]

FULL = bool(os.environ.get("USER_WORKER_TEST_FULL"))
PAIRS = 3 if FULL else 1
"""Runs without and with throttling in turn; the median of their rates is compared."""
COMMANDS = 2000 if FULL else 300
SHARE = 0.05
"""Of the commands that are for the throttled user."""
GOOD_USERS = 40
RATE = 0.9
"""Of the rate without throttling, that the others keep."""


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
    """Return the commands in random order, and those of them that are not for the hot user."""
    chance = random.Random(1)
    chosen = [hot] * round(COMMANDS * SHARE)
    chosen += chance.choices(users, k=COMMANDS - len(chosen))
    chance.shuffle(chosen)
    sent = [message(c.UpdateProfile(f"Ada {number}"), user) for number, user in enumerate(chosen)]
    return sent, [each for each in sent if each.user_id != hot]


def _rate(system: System, worker: WorkerProcess, sent: list[Message], good: list[Message]) -> float:
    """Send commands and wait for the outcomes of the good ones; return these a second."""
    ids = {each.command_id for each in good}
    began = time.monotonic()
    system.send(*sent)
    eventually(
        lambda: len(ids & {line["command_id"] for line in decided(worker)}) == len(ids),
        100,
        "a decision of each command",
    )
    rate = len(good) / (time.monotonic() - began)
    system.outcomes(good)
    return rate


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
    """None of them needs a second receive, the breaker stays closed, and no rate is lost.

    The commands of the throttled user are processed once the throttling has ended.
    """
    shares = []
    with _running(aws_endpoint, tmp_path) as (system, worker, proxy, hot, users):
        for _ in range(PAIRS):
            undisturbed = _rate(system, worker, *_commands(hot, users)) if FULL else 0.0
            seen = len(decided(worker))
            struck = proxy.inject(fault(f"USER#{hot}"), operation)
            sent, good = _commands(hot, users)
            rate = _rate(system, worker, sent, good)
            lines = decided(worker)[seen:]
            assert {line["receives"] for line in lines if line["user_id"] != hot} == {1}
            assert {line["code"] for line in lines if line["user_id"] == hot} == {"Throttled"}
            assert struck.hits
            assert log_lines(worker, "receiving_stopped") == []
            print(f"{rate:.0f} commands a second; {undisturbed:.0f} without throttling")
            shares.append(rate / undisturbed if FULL else 1.0)
            proxy.clear()
            system.outcomes(sent, 120)
        assert median(shares) >= RATE, shares
        eventually(system.queues.empty, what="an empty queue")
        assert system.queues.dead_letters(1, seconds=0) == []
