"""A real worker waits up to USER_WORKER_BATCH_WAIT to fill a batch, and no longer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ResourceNames
from tests.e2e.system import PREFORK, THREADS
from tests.e2e.worker_process import Queues, WorkerProcess, eventually, worker
from worker.transport.receiver import SHORTEST_POLL

SOLO = ("-P", "solo")
POOLS = pytest.mark.parametrize(
    "options", [PREFORK, THREADS, SOLO], ids=["prefork", "threads", "solo"]
)
LATE = 1.5
"""Seconds that a busy machine may need in addition."""


@pytest.fixture
def fifo(aws_endpoint: str) -> Iterator[Queues]:
    """A FIFO queue."""
    queues = Queues.create(ResourceNames.unique(fifo=True), aws_endpoint, 30)
    yield queues
    queues.delete()


@pytest.fixture
def urgent(aws_endpoint: str) -> Iterator[Queues]:
    """The queue with priority."""
    queues = Queues.create(ResourceNames.unique(), aws_endpoint, 30)
    yield queues
    queues.delete()


def _batches(running: WorkerProcess) -> list[dict[str, Any]]:
    """Return the batches that have started, each with its time and the ids of its messages."""
    return [
        {"at": row["at"], "ids": [message["message_id"] for message in row["messages"]]}
        for row in running.records("start")
    ]


def _warm(queues: Queues, running: WorkerProcess) -> int:
    """Handle a first message, so that the worker polls; return the number of batches.

    The worker counts the pause before a poll as part of the wait of messages that the poll returns
    at once, so this waits until the current poll has begun with an empty queue.
    """
    running.ready()
    sent = queues.send({})
    eventually(lambda: {*sent} <= {*running.handled()}, what="the first message")
    eventually(queues.empty, what="an empty queue")
    time.sleep(2 * SHORTEST_POLL)
    return len(running.records("start"))


@POOLS
def test_messages_of_a_trickle_share_a_batch_that_starts_in_time(
    queues: Queues, aws_endpoint: str, tmp_path: Path, options: Sequence[str]
) -> None:
    """Six messages within the wait are one batch; it starts when the wait of the first ends."""
    with worker(
        queues.names, aws_endpoint, tmp_path, options, USER_WORKER_BATCH_WAIT="2000"
    ) as running:
        before = _warm(queues, running)
        began = time.time()
        sent = []
        for _ in range(6):
            sent += queues.send({})
            time.sleep(0.1)
        eventually(lambda: {*sent} <= {*running.handled()}, what="the six")
        started = _batches(running)[before:]
    assert [sorted(batch["ids"]) for batch in started] == [sorted(sent)]
    assert 2.0 <= started[0]["at"] - began <= 2.0 + LATE


def test_without_the_setting_a_lone_message_starts_at_once(
    queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """The default is not to wait."""
    with worker(queues.names, aws_endpoint, tmp_path, PREFORK) as running:
        before = _warm(queues, running)
        began = time.time()
        queues.send({})
        eventually(lambda: len(running.records("start")) > before, what="the message")
        assert _batches(running)[before]["at"] - began <= LATE


@POOLS
def test_a_full_batch_starts_long_before_the_wait_ends(
    queues: Queues, aws_endpoint: str, tmp_path: Path, options: Sequence[str]
) -> None:
    """Twenty messages that are there at once are one or two tasks; nothing waits for five seconds.

    A receive may return fewer than ten messages, so that a rest may be left over, which waits.
    """
    settings = {"USER_WORKER_BATCH_WAIT": "5000", "USER_WORKER_BATCH_SIZE": "10"}
    with worker(queues.names, aws_endpoint, tmp_path, options, **settings) as running:
        before = _warm(queues, running)
        began = time.time()
        sent = queues.send(*[{} for _ in range(10)])
        eventually(lambda: {*sent} <= {*running.handled()}, what="the ten")
        started = _batches(running)[before:]
    assert [len(batch["ids"]) for batch in started] == [10]
    assert started[0]["at"] - began <= 2 + LATE


@POOLS
def test_sigterm_during_the_wait_is_fast_and_loses_nothing(
    queues: Queues, aws_endpoint: str, tmp_path: Path, options: Sequence[str]
) -> None:
    """The messages are visible at once, and the next worker handles each of them once."""
    with worker(
        queues.names, aws_endpoint, tmp_path, options, USER_WORKER_BATCH_WAIT="5000"
    ) as running:
        before = _warm(queues, running)
        sent = queues.send({}, {}, {})
        eventually(lambda: queues.depth() == (0, 3), 4, what="the three in flight")
        assert len(running.records("start")) == before, "they wait"
        assert running.stop() == 0
        assert running.stopped_after < 4
        assert "Traceback" not in running.log
        assert len(running.records("start")) == before
    eventually(lambda: queues.depth() == (3, 0), 2, what="the three visible")
    with worker(queues.names, aws_endpoint, tmp_path, options) as second:
        eventually(lambda: len(second.handled()) >= 3, what="the three")
        eventually(queues.empty, what="an empty queue")
        assert sorted(second.handled()) == sorted(sent)


def test_a_command_of_the_priority_queue_does_not_wait(
    queues: Queues, urgent: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """Neither to fill a batch, nor behind a batch of another queue that waits."""
    settings = {
        "USER_WORKER_PRIORITY_QUEUE": urgent.names.command_queue,
        "USER_WORKER_BATCH_WAIT": "5000",
    }
    with worker(queues.names, aws_endpoint, tmp_path, SOLO, **settings) as running:
        before = _warm(queues, running)
        normal = queues.send({})
        eventually(lambda: queues.depth() == (0, 1), 4, what="the normal message in flight")
        began = time.time()
        first = urgent.send({})
        eventually(lambda: {*first} <= {*running.handled()}, what="the urgent message")
        batch = _batches(running)[before]
        assert batch["ids"] == first
        assert batch["at"] - began <= LATE
        eventually(lambda: {*normal} <= {*running.handled()}, what="the normal message")


def test_a_fifo_group_keeps_its_order_while_batches_wait(
    fifo: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """Messages of two groups share batches, and each group stays in order."""
    with worker(
        fifo.names, aws_endpoint, tmp_path, PREFORK, USER_WORKER_BATCH_WAIT="300"
    ) as running:
        running.ready()
        sent: dict[str, list[str]] = {"a": [], "b": []}
        for _ in range(8):
            for group in sent:
                sent[group] += fifo.send({}, group=group)
            time.sleep(0.05)
        wanted = {*sent["a"], *sent["b"]}
        eventually(lambda: wanted <= {*running.handled()}, what="all")
        eventually(fifo.empty, what="an empty queue")
        handled = running.handled()
        sizes = [len(batch["ids"]) for batch in _batches(running)]
    assert len(handled) == len(wanted), "each once"
    assert max(sizes) > 1
    for group, ids in sent.items():
        assert [each for each in handled if each in ids] == ids, group
