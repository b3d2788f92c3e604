"""An AWS outage that outlasts the receives dead-letters no message and loses none.

The queues of these tests dead-letter a message after three receives, so that an outage of seconds
stands for an outage of hours with twelve receives.
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

pytestmark = [pytest.mark.slow]

OUTAGE = 8.0
"""Seconds after the worker has noticed the outage."""
RECEIVES = 3
"""With retry delays of 1 to 2 and then 2 to 4 seconds, six seconds of failures use them up."""
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
    """During the outage the worker receives very few messages; afterwards it handles all of them.

    Messages that it holds when the outage begins fail once. The rest of the backlog stays in the
    queue.
    """
    with _running(aws_endpoint, tmp_path, options) as (system, worker, proxy):
        for operation in ("BatchGetItem", "TransactWriteItems", "Query"):
            proxy.inject(Unavailable(), operation)
        messages = _registrations(COMMANDS)
        system.send(*messages)
        eventually(lambda: log_lines(worker, "receiving_stopped"), what="the breaker")
        received = proxy.calls["ReceiveMessage"]
        _wait(OUTAGE)
        assert proxy.calls["ReceiveMessage"] - received <= 2  # polls in progress, or a late trial
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
    """Commands are committed at a reduced rate, and their events are published afterwards."""
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
