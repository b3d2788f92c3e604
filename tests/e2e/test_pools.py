"""Real `celery worker` processes: what each pool guarantees, with and without failures."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ResourceNames
from tests.e2e.proxy import (
    Denied,
    Fault,
    FaultyProxy,
    HalfAnswer,
    Junk,
    LostAnswer,
    Reset,
    Silence,
    Throttled,
    Unavailable,
)
from tests.e2e.worker_process import FRESH, Queues, eventually, worker

POOLS = {
    "prefork": ("-P", "prefork", "-c", "2"),
    "threads": ("-P", "threads", "-c", "2"),
    "solo": ("-P", "solo"),
}
pools = pytest.mark.parametrize("options", POOLS.values(), ids=POOLS.keys())


@pytest.fixture
def fifo_queues(fifo_resource_names: ResourceNames, aws_endpoint: str) -> Iterator[Queues]:
    """Like `queues`, but FIFO."""
    queues = Queues.create(fifo_resource_names, aws_endpoint, 30)
    yield queues
    queues.delete()


@pools
def test_every_message_is_handled_once_and_the_queue_is_left_empty(
    options: tuple[str, ...], queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """Acknowledged is deleted, retried returns after its delay, dead has its reason in the DLQ."""
    done = queues.send(*[{"n": n} for n in range(35)])
    [dead] = queues.send({"do": "dead", "code": "Malformed", "detail": "data.email: missing"})
    [secret] = queues.send({"do": "dead", "detail": "a\x00b", "body": "[redacted]", "x": "s3cret"})
    with worker(queues.names, aws_endpoint, tmp_path, options, start=FRESH) as running:
        eventually(queues.empty, what="everything settled")
        assert running.stop() == 0, running.log
    assert sorted(running.handled()) == sorted([*done, dead, secret])
    letters = {
        letter["MessageAttributes"]["original_message_id"]["StringValue"]: letter
        for letter in queues.dead_letters(2)
    }
    reason = {k: v["StringValue"] for k, v in letters[dead]["MessageAttributes"].items()}
    assert reason["error_code"] == "Malformed"
    assert reason["error_detail"] == "data.email: missing"
    assert "T" in reason["received_at"]
    assert '"do": "dead"' in letters[dead]["Body"]
    assert letters[secret]["Body"] == "[redacted]"


@pools
def test_a_postponed_message_is_received_after_its_delay(
    options: tuple[str, ...], queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """A retry after 2 s makes it visible after 2 s, not after the visibility timeout."""
    queues.send({"do": "later", "delay": 2})
    with worker(queues.names, aws_endpoint, tmp_path, options) as running:
        eventually(lambda: len(running.records("end")) >= 2, what="the second delivery")
        first, second = running.records("start")[:2]
        assert 1.5 < second["at"] - first["at"] < 6
        assert second["messages"][0]["receives"] == 2


@pytest.mark.embedded
@pools
def test_sigterm_lets_what_runs_finish_and_what_waits_go(
    options: tuple[str, ...], queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """No task starts after SIGTERM; running batches finish; the rest is visible within 2 s."""
    # The batches are longer than a slow second child takes to start. Otherwise the first child
    # would start its second batch meanwhile, and there would be more starts than children.
    queues.send(*[{"seconds": 5} for _ in range(100)])
    with worker(queues.names, aws_endpoint, tmp_path, options) as running:
        parallel = 1 if "solo" in options else 2
        eventually(lambda: len(running.records("start")) >= parallel, what="the first batches")
        started = running.handled("start")
        running.send_signal(signal.SIGTERM)
        began = time.monotonic()
        eventually(lambda: queues.depth()[0] == 100 - len(started), 2.5, "the release")
        assert running.process.wait(10) == 0, running.log
        assert time.monotonic() - began < 10
    assert sorted(running.handled()) == sorted(started)
    assert running.handled("start") == started
    assert queues.depth() == (100 - len(started), 0)


@pytest.mark.embedded
def test_sigterm_to_the_whole_group_does_not_kill_children_in_mid_batch(
    queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """Children ignore SIGTERM: their batches finish and are acknowledged."""
    queues.send(*[{"seconds": 2} for _ in range(20)])
    with worker(queues.names, aws_endpoint, tmp_path, POOLS["prefork"]) as running:
        eventually(lambda: len(running.records("start")) >= 2, what="both children busy")
        assert running.stop(group=True) == 0, running.log
        assert running.stopped_after < 10
    assert len(running.handled()) == 20
    assert queues.empty()


@pytest.mark.embedded
@pools
def test_sigterm_is_heard_in_the_middle_of_a_long_poll(
    options: tuple[str, ...], queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """An idle worker ends after the current poll, and releases the messages of that poll."""
    with (
        FaultyProxy(aws_endpoint) as proxy,
        worker(queues.names, proxy.url, tmp_path, options, WAIT_SECONDS="4") as running,
    ):
        eventually(lambda: proxy.calls["ReceiveMessage"], what="a poll under way")
        running.send_signal(signal.SIGTERM)
        eventually(lambda: "shutdown" in running.log, what="the signal")
        queues.send({"n": 1})
        assert running.process.wait(15) == 0, running.log
    assert running.records() == []
    assert queues.depth() == (1, 0)


@pytest.mark.embedded
def test_cold_shutdown_ends_running_batches_and_lets_them_go(
    queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """SIGQUIT kills the children; their messages are visible again at once."""
    queues.send(*[{"seconds": 60} for _ in range(20)])
    with worker(queues.names, aws_endpoint, tmp_path, POOLS["prefork"]) as running:
        eventually(lambda: len(running.records("start")) >= 2, what="both children busy")
        running.stop(signal.SIGQUIT)
        assert running.stopped_after < 10
    assert queues.depth() == (20, 0)


@pytest.mark.embedded
def test_the_pool_goes_on_within_a_second_of_a_childs_death(
    queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """SIGKILL of a busy child while the other is idle: its batch is retried and all is done."""
    queues.send({"seconds": 60, "first": True})
    with worker(queues.names, aws_endpoint, tmp_path, POOLS["prefork"]) as running:
        [start] = eventually(lambda: running.records("start"), what="one child busy")
        lost = start["messages"][0]["message_id"]
        os.kill(start["pid"], signal.SIGKILL)
        killed = time.time()
        eventually(lambda: running.handled("start").count(lost) == 2, what="the batch again")
        assert running.records("start")[-1]["at"] - killed < 2
        ids = queues.send(*[{"n": n} for n in range(6)])
        eventually(lambda: set(ids) <= set(running.handled()), what="six more")
        assert max(r["at"] for r in running.records("end")) - killed < 5


@pytest.mark.parametrize(
    "options", [POOLS["prefork"], POOLS["threads"]], ids=["prefork", "threads"]
)
def test_an_exception_makes_the_batch_visible_again(
    options: tuple[str, ...], queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """It is visible at once after the first receives.

    From the third on each message alone, later.
    """
    ids = queues.send({"do": "raise"}, *[{"n": n} for n in range(4)])
    with worker(queues.names, aws_endpoint, tmp_path, options) as running:
        eventually(lambda: set(ids[1:]) <= set(running.handled()), what="the others done")

        def from_third() -> list[dict[str, Any]]:
            return [r for r in running.records("start") if r["messages"][0]["receives"] >= 3]

        thirds = eventually(from_third, what="a third receive")
        assert all(len(record["messages"]) == 1 for record in thirds)


@pytest.mark.embedded
def test_a_time_limit_ends_a_batch_and_the_worker_goes_on(
    queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """`--time-limit` works as in any Celery worker; the batch is visible again."""
    queues.send({"seconds": 60})
    options = (*POOLS["prefork"], "--time-limit", "1")
    with worker(queues.names, aws_endpoint, tmp_path, options) as running:
        eventually(lambda: len(running.records("start")) >= 2, what="the second delivery")
        [quick] = queues.send({"n": 1})
        eventually(lambda: quick in running.handled(), what="another message")


@pytest.mark.embedded
def test_children_are_replaced_after_their_tasks(
    queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """`--max-tasks-per-child` works as in any Celery worker, and nothing is lost."""
    ids = queues.send(*[{"n": n} for n in range(40)])
    options = (*POOLS["prefork"], "--max-tasks-per-child", "1")
    with worker(queues.names, aws_endpoint, tmp_path, options) as running:
        eventually(queues.empty, what="all settled")
        assert sorted(running.handled()) == sorted(ids)
        assert len({record["pid"] for record in running.records()}) >= 3
        assert running.stop() == 0


FAULTS: list[Fault] = [
    Unavailable(),
    Throttled(),
    Denied(),
    Reset(),
    LostAnswer(),
    HalfAnswer(),
    Junk(),
]


@pytest.mark.embedded
def test_whatever_receive_answers_the_worker_stays(
    resource_names: ResourceNames, aws_endpoint: str, tmp_path: Path
) -> None:
    """4xx, 5xx, throttling, resets, half answers, junk: one log line each, and it continues."""
    queues = Queues.create(resource_names, aws_endpoint, 2)
    soon = {
        "USER_WORKER_VISIBILITY_TIMEOUT": "2"
    }  # how long a lost answer keeps messages invisible
    with (
        FaultyProxy(aws_endpoint) as proxy,
        worker(queues.names, proxy.url, tmp_path, POOLS["prefork"], **soon) as running,
    ):
        running.ready()
        for number, fault in enumerate(FAULTS, 1):
            injection = proxy.inject(fault, "ReceiveMessage", times=2)
            eventually(lambda i=injection: i.hits == 2, what=f"two {fault}")  # type: ignore[misc]
            [sent] = queues.send({"fault": repr(fault)})
            eventually(lambda s=sent: s in running.handled(), 40, f"a message after {fault}")  # type: ignore[misc]
            assert running.log.count("receiving_failed") <= number
        assert running.process.poll() is None
        assert running.stop() == 0, running.log


@pytest.mark.parametrize("operation", ["DeleteMessageBatch", "ChangeMessageVisibilityBatch"])
def test_settling_outlives_every_fault(
    operation: str, queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """A failing call is retried until it succeeds; the messages are not handled twice."""
    do = {"do": "later", "delay": 600} if operation.startswith("Change") else {"do": "done"}
    with (
        FaultyProxy(aws_endpoint) as proxy,
        worker(queues.names, proxy.url, tmp_path, POOLS["threads"]) as running,
    ):
        for fault in (Unavailable(), Reset(), LostAnswer()):
            proxy.inject(fault, operation, times=1)
        ids = queues.send(*[do for _ in range(10)])
        calls = proxy.calls
        eventually(lambda: calls[operation] >= 4, what="the calls made again")
        eventually(lambda: len(running.handled()) >= 10, what="the batch handled")
        visible, invisible = (0, 10) if operation.startswith("Change") else (0, 0)
        eventually(lambda: queues.depth() == (visible, invisible), what="all settled")
        assert running.stop() == 0
    assert sorted(running.handled()) == sorted(ids)


def test_without_the_dead_letter_queue_a_dead_message_is_held_until_it_can_be_sent(
    queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """It is deleted only after it was sent to the dead-letter queue."""
    with (
        FaultyProxy(aws_endpoint) as proxy,
        worker(queues.names, proxy.url, tmp_path, POOLS["threads"]) as running,
    ):
        running.ready()
        proxy.inject(Unavailable(), "SendMessageBatch", times=3)
        [dead] = queues.send({"do": "dead"})
        assert len(queues.dead_letters(1)) == 1
        eventually(queues.empty, what="deleted")
        assert running.handled().count(dead) == 1
        assert proxy.calls["SendMessageBatch"] == 4


@pytest.mark.embedded
def test_a_silent_service_does_not_hold_up_the_end(
    queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """Even if no call is answered any more, SIGTERM ends the worker within 10 s."""
    with (
        FaultyProxy(aws_endpoint) as proxy,
        worker(queues.names, proxy.url, tmp_path, POOLS["prefork"]) as running,
    ):
        running.ready()
        eventually(lambda: proxy.calls["ReceiveMessage"], what="the first poll")
        poll = proxy.inject(Silence(), "ReceiveMessage")
        proxy.inject(Silence())
        eventually(lambda: poll.hits, what="a poll under way")
        assert running.stop() == 0
        assert running.stopped_after < 10


def test_ten_messages_cost_one_receive_and_one_delete(
    queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """One receive is one task, and its ten messages are deleted by one call."""
    queues.send(*[{"n": n} for n in range(10)])
    with (
        FaultyProxy(aws_endpoint) as proxy,
        worker(queues.names, proxy.url, tmp_path, POOLS["prefork"]) as running,
    ):
        eventually(queues.empty, what="all settled")
        assert [len(r["messages"]) for r in running.records("end")] == [10]
        assert proxy.calls["DeleteMessageBatch"] == 1
        assert proxy.calls["DeleteMessage"] == 0


def test_a_fifo_group_is_handled_in_order_and_returned_as_a_whole_if_unsettled(
    fifo_queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """Messages of one group stay in order, in one batch, also when they are retried."""
    groups = {
        name: fifo_queues.send(*[{"n": n} for n in range(4)], group=name) for name in ("a", "b")
    }
    put_off = fifo_queues.send(*[{"do": "later", "delay": 1}] * 3, group="c")
    with worker(fifo_queues.names, aws_endpoint, tmp_path, POOLS["prefork"]) as running:
        everything = [*groups["a"], *groups["b"]]
        eventually(lambda: set(everything) <= set(running.handled()), what="both groups")
        eventually(lambda: running.handled().count(put_off[0]) >= 3, what="the third delivery")
        for ids in groups.values():
            assert [i for i in running.handled() if i in ids] == ids
        deliveries = [
            [m["message_id"] for m in record["messages"] if m["message_id"] in put_off]
            for record in running.records("start")
        ]
        in_hand = [ids for ids in deliveries if ids]  # a receive may cut a group after ten messages
        assert all(ids == put_off[: len(ids)] for ids in in_hand)
        alone = [r for r in running.records("start") if r["messages"][0]["receives"] >= 3]
        assert all({m["group_id"] for m in record["messages"]} == {"c"} for record in alone)


@pytest.mark.embedded
@pools
def test_no_log_line_carries_a_body(
    options: tuple[str, ...], queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """Not at DEBUG level, not when a task fails, and not in Celery's message about a result."""
    queues.send(
        {"n": "pss-t1"},
        {"do": "dead", "body": "pss-t2", "code": "Malformed", "detail": "x"},
    )
    queues.send({"do": "raise", "n": "pss-t3"})
    with worker(queues.names, aws_endpoint, tmp_path, (*options, "-l", "DEBUG")) as running:
        eventually(lambda: len(running.handled("start")) >= 5, what="some deliveries")
        assert running.stop() == 0
    assert "pss-t" not in running.log


@pytest.mark.embedded
def test_a_missing_queue_ends_the_program_with_one_line(
    resource_names: ResourceNames, aws_endpoint: str, tmp_path: Path
) -> None:
    """The exit code is not 0, and the error names the queue."""
    with worker(
        resource_names,
        aws_endpoint,
        tmp_path,
        app="worker.app",
        USER_WORKER_CREATE_RESOURCES="false",
    ) as running:
        assert running.process.wait(30) != 0
        assert f"no queue {resource_names.command_queue}" in running.log
        assert "Traceback" not in running.log


@pytest.mark.embedded
def test_a_wrong_setting_ends_the_program_with_one_line(
    resource_names: ResourceNames, aws_endpoint: str, tmp_path: Path
) -> None:
    """The exit code is not 0, and the error names the variable; Celery prints no traceback."""
    with worker(
        resource_names,
        aws_endpoint,
        tmp_path,
        app="worker.app",
        USER_WORKER_VISIBILITY_TIMEOUT="soon",
    ) as running:
        assert running.process.wait(30) != 0
        assert "USER_WORKER_VISIBILITY_TIMEOUT" in running.log
        assert "Traceback" not in running.log


def test_a_queue_that_vanishes_is_reported_once_and_served_when_it_is_back(
    resource_names: ResourceNames, aws_endpoint: str, tmp_path: Path
) -> None:
    """The worker logs one clear line and keeps trying."""
    queues = Queues.create(resource_names, aws_endpoint, 30)
    with worker(queues.names, aws_endpoint, tmp_path, POOLS["threads"]) as running:
        running.ready()
        queues.delete()
        eventually(lambda: "does not exist" in running.log, what="the report")
        queues = Queues.create(resource_names, aws_endpoint, 30)
        [sent] = queues.send({"n": 1})
        eventually(lambda: sent in running.handled(), what="the message")
        assert running.log.count("receiving_failed") == 1
    queues.delete()
