"""AWS out of order for longer than the receives would last: nothing is dead-lettered, nothing lost.

The queues of these tests give a message up after three receives, so that an outage of seconds
stands for one of hours at twelve.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.builders import register
from tests.e2e.proxy import FaultyProxy, Unavailable
from tests.e2e.system import PREFORK, THREADS, Message, System, decided, log_lines, message
from tests.e2e.worker_process import WorkerProcess, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.aws, pytest.mark.slow]

OUTAGE = 8.0
"""Seconds from when the worker has noticed."""
RECEIVES = 3
"""At a delay of 1 to 2 and then 2 to 4 seconds, six seconds of failing would use them up."""
COMMANDS = 120


@contextmanager
def _running(
    endpoint: str, folder: Path, options: tuple[str, ...]
) -> Iterator[tuple[System, WorkerProcess, FaultyProxy]]:
    system = System.create(endpoint, folder, max_receives=RECEIVES)
    settings = {"MAX_RECEIVES": str(RECEIVES), "RELAY_AGE": "1", "RELAY_INTERVAL": "0.5"}
    with (
        FaultyProxy(endpoint) as proxy,
        system.worker(options, endpoint=proxy.url, **settings) as worker,
    ):
        worker.ready()
        yield system, worker, proxy
    system.delete()


def _registrations(count: int) -> list[Message]:
    return [message(register(uuid4().hex), str(uuid4())) for _ in range(count)]


def _wait(seconds: float) -> None:
    threading.Event().wait(seconds)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("options", [PREFORK, THREADS], ids=["prefork", "threads"])
def test_an_outage_of_the_store_uses_up_no_receives(
    aws_endpoint: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """The worker receives next to nothing, asks from time to time, and then works everything off.

    What it holds when the outage begins fails once; the rest of the backlog is not touched.
    """
    with _running(aws_endpoint, tmp_path, options) as (system, worker, proxy):
        for operation in ("BatchGetItem", "TransactWriteItems", "Query"):
            proxy.inject(Unavailable(), operation)
        messages = _registrations(COMMANDS)
        system.send(*messages)
        eventually(lambda: log_lines(worker, "receiving_stopped"), what="the breaker")
        received = proxy.calls["ReceiveMessage"]
        _wait(OUTAGE)
        assert proxy.calls["ReceiveMessage"] - received <= 2  # polls under way, or a late trial
        visible, _ = system.queues.depth()
        assert visible > COMMANDS / 2
        proxy.clear()
        outcomes = system.outcomes(messages)
        assert {outcome.version for outcome in outcomes} == {1}
        system.published(outcomes)
        eventually(system.queues.empty, what="an empty queue")
        assert system.queues.dead_letters(1, seconds=0) == []
        assert max(line["receives"] for line in decided(worker)) <= RECEIVES
        assert len(log_lines(worker, "receiving_at_full_speed")) == 1


@pytest.mark.timeout(120)
def test_an_outage_of_the_topic_slows_and_stops_nothing(aws_endpoint: str, tmp_path: Path) -> None:
    """Commands are committed meanwhile, at a pace, and their events come out afterwards."""
    with _running(aws_endpoint, tmp_path, THREADS) as (system, worker, proxy):
        proxy.inject(Unavailable(), "PublishBatch")
        first = _registrations(40)
        system.send(*first)
        outcomes = system.outcomes(first)
        eventually(lambda: log_lines(worker, "receiving_slowed"), what="the breaker")
        assert system.events() == []
        proxy.clear()
        later = _registrations(COMMANDS)
        system.send(*later)
        outcomes += system.outcomes(later)
        told = system.published(outcomes, 60)
        assert len(told) == len(outcomes)
        eventually(lambda: system.outbox.status().pending == 0, what="an empty outbox")
        eventually(system.queues.empty, what="an empty queue")
        assert system.queues.dead_letters(1, seconds=0) == []
        assert {line["receives"] for line in decided(worker)} == {1}
        assert log_lines(worker, "receiving_at_full_speed")
