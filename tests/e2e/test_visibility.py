"""A message in progress stays invisible to others, and no longer than necessary.

Timeouts are short here. `tests/unit/worker/test_transport_in_flight.py` tests the same rules as a
state machine, with exact times and every order in which calls may end.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ResourceNames
from tests.e2e.proxy import FaultyProxy
from tests.e2e.system import PREFORK, THREADS
from tests.e2e.witness import BatchObserver, Late, Then
from tests.e2e.worker_process import Queues, eventually, worker

SOLO = ("-P", "solo")
TIMEOUT = 2
"""Visibility timeout of queue and worker, in seconds."""


@pytest.fixture
def queues(resource_names: ResourceNames, aws_endpoint: str) -> Iterator[Queues]:
    """A command queue with a short visibility timeout, and its dead-letter queue."""
    queues = Queues.create(resource_names, aws_endpoint, TIMEOUT)
    yield queues
    queues.delete()


@pytest.mark.slow
def test_a_batch_of_five_timeouts_is_handled_once_by_every_pool(
    aws_endpoint: str, tmp_path: Path
) -> None:
    """All ten are renewed in one call, at most one timeout apart, and then deleted."""
    with ExitStack() as stack:
        scenes = []
        for pool in (PREFORK, THREADS, SOLO):
            queues = Queues.create(ResourceNames.unique(), aws_endpoint, TIMEOUT)
            stack.callback(queues.delete)
            sent = queues.send(*[{"seconds": 5 * TIMEOUT} for _ in range(10)])
            proxy, renewals = stack.enter_context(FaultyProxy(aws_endpoint)), BatchObserver()
            proxy.inject(renewals, "ChangeMessageVisibilityBatch")
            running = stack.enter_context(
                worker(
                    queues.names,
                    proxy.url,
                    tmp_path,
                    pool,
                    USER_WORKER_VISIBILITY_TIMEOUT=str(TIMEOUT),
                )
            )
            scenes.append((queues, running, renewals, sent))
        for queues, running, renewals, sent in scenes:
            eventually(lambda r=running: len(r.handled()) >= 10, what="the batch's end")  # type: ignore[misc]
            eventually(queues.empty, what="all settled")
            assert sorted(running.handled("start")) == sorted(sent)
            assert [len(row["messages"]) for row in running.records("end")] == [10]
            assert {len(entries) for entries in renewals.changes()} == {10}
            assert {s for entries in renewals.changes() for _, s in entries} == {TIMEOUT}
            assert 5 <= len(renewals.calls) <= 15, "half a timeout apart, more or less"


def test_what_waits_behind_a_long_batch_is_renewed_with_it(
    queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """Buffered messages are renewed too, so that none has been delivered again before its turn."""
    sent = queues.send(*[{"seconds": TIMEOUT} for _ in range(30)])
    with worker(
        queues.names, aws_endpoint, tmp_path, SOLO, USER_WORKER_VISIBILITY_TIMEOUT=str(TIMEOUT)
    ) as running:
        eventually(lambda: len(running.handled()) >= 30, what="all batches' end")
        eventually(queues.empty, what="all settled")
    assert sorted(running.handled("start")) == sorted(sent)
    assert {m["receives"] for row in running.records() for m in row["messages"]} == {1}


@pytest.mark.slow
def test_a_stuck_batch_is_given_up_after_ten_timeouts(
    queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """Threads have no time limit. Another thread gets the messages after 10 to 11 timeouts."""
    [sent] = queues.send({"seconds": 300})
    with worker(
        queues.names, aws_endpoint, tmp_path, THREADS, USER_WORKER_VISIBILITY_TIMEOUT=str(TIMEOUT)
    ) as running:
        eventually(
            lambda: running.handled("start") == [sent, sent], 15 * TIMEOUT, "the second delivery"
        )
        stuck, again = running.records("start")
    assert again["messages"][0]["receives"] == 2
    assert 10 * TIMEOUT - 1 < again["at"] - stuck["at"] < 11 * TIMEOUT + 3


def test_a_message_that_was_deleted_before_its_renewal_is_not_settled(
    queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """A message that something else deleted is logged once; the others are acknowledged."""
    sent = queues.send(*[{"seconds": 2 * TIMEOUT} for _ in range(10)])
    received: dict[str, str] = {}
    deletes, renewals = BatchObserver(), BatchObserver()

    def delete_one(answer: Any) -> None:
        """Delete the message before the worker receives it, and so before any renewal."""
        for row in answer.get("Messages") or ():
            received[row["ReceiptHandle"]] = row["MessageId"]
            if row["MessageId"] == sent[3]:
                queues.sqs.delete_message(QueueUrl=queues.url, ReceiptHandle=row["ReceiptHandle"])

    with FaultyProxy(aws_endpoint) as proxy:
        proxy.inject(Then(delete_one), "ReceiveMessage")
        proxy.inject(deletes, "DeleteMessageBatch")
        proxy.inject(renewals, "ChangeMessageVisibilityBatch")
        with worker(
            queues.names, proxy.url, tmp_path, USER_WORKER_VISIBILITY_TIMEOUT=str(TIMEOUT)
        ) as running:
            eventually(lambda: len(running.handled()) == 10, what="the batch's end")
            eventually(queues.empty, what="all settled")
            assert running.stop() == 0, running.log
    [gone] = [receipt for receipt, each in received.items() if each == sent[3]]
    deleted = [entry["ReceiptHandle"] for call in deletes.calls for entry in call.asked["Entries"]]
    assert Counter(deleted) == Counter(received.keys() - {gone})
    assert sorted(running.handled()) == sorted(sent)
    assert running.log.count("message_lapsed") == 1
    asked = [[receipt for receipt, _ in entries] for entries in renewals.changes()]
    assert sum(gone in receipts for receipts in asked) == 1, "and it is not renewed again"


def test_a_back_off_comes_after_the_renewal_that_is_under_way(
    aws_endpoint: str, resource_names: ResourceNames, tmp_path: Path
) -> None:
    """The renewal is slow and the batch ends meanwhile. The back-off takes effect last."""
    # One second from the renewal to the end of the batch, and one more until the timeout.
    timeout = 2 * TIMEOUT
    queues = Queues.create(resource_names, aws_endpoint, timeout)
    queues.send(*[{"do": "later", "delay": 600, "seconds": timeout / 2 + 1} for _ in range(10)])
    changes = BatchObserver()
    with (
        FaultyProxy(aws_endpoint) as proxy,
        worker(
            queues.names, proxy.url, tmp_path, USER_WORKER_VISIBILITY_TIMEOUT=str(timeout)
        ) as running,
    ):
        late = Late(lambda: running.records("end"), changes)
        slow = proxy.inject(late, "ChangeMessageVisibilityBatch", times=1)
        proxy.inject(changes, "ChangeMessageVisibilityBatch")
        eventually(lambda: len(changes.calls) >= 2, what="the renewal and the back-off")
        assert slow.hits == 1
        renewal, back_off = changes.calls
        assert running.records("end")[0]["at"] < renewal.at < back_off.at
        # Another renewal would be due half a timeout after the first.
        eventually(lambda: time.time() > renewal.at + timeout / 2 + 0.5, what="its time")
        assert running.stop() == 0, running.log
    assert [{s for _, s in entries} for entries in changes.changes()] == [{timeout}, {600}]
    assert queues.depth() == (0, 10)
    assert len(running.handled()) == 10
    queues.delete()
