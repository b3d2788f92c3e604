"""Liveness checks and readiness issues of the worker's parts."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from application.disposition import Ack, Dispositions
from application.health_source import ENDED, RUNNING_BATCH
from application.outbox import OutboxPage
from application.ports import StoreUnavailableError
from tests.unit.application.test_relay import World, world
from worker.transport import channel, receiver
from worker.transport.breaker import Breaker
from worker.transport.consumer import QueueConsumer

from .test_transport_channel import Consumer, consumers
from .test_transport_in_flight import raw
from .test_transport_threads import FakeQueue, _taken, _until, started

__all__ = ["consumers", "started", "world"]  # fixtures


def missing(consumer: QueueConsumer) -> list[str]:
    """Return the failed checks of a queue's threads."""
    return [
        str(liveness_check)
        for liveness_check in consumer.liveness_checks()
        if liveness_check.missing
    ]


def test_a_queue_is_ready_as_soon_as_sqs_has_answered_a_poll(
    started: Callable[..., QueueConsumer],
) -> None:
    """An empty answer counts; before the first one the state is unknown."""
    queue = FakeQueue()
    queue.may_answer.clear()
    consumer = started(queue)
    assert consumer.readiness_issue() == "queue q: not polled yet"
    queue.may_answer.set()
    _until(lambda: consumer.readiness_issue() is None, "readiness")
    assert missing(consumer) == []


def test_receiving_that_fails_is_a_trouble_until_it_works_again(
    started: Callable[..., QueueConsumer],
) -> None:
    """The thread is live in the meantime."""
    queue = FakeQueue(answers=[OSError("no route"), OSError("no route")])
    consumer = started(queue)
    _until(lambda: consumer.readiness_issue() == "queue q: SQS does not answer", "the trouble")
    assert missing(consumer) == []
    _until(lambda: consumer.readiness_issue() is None, "the end of it")


def test_a_poll_that_never_ends_fails_liveness_and_a_full_buffer_does_not(
    started: Callable[..., QueueConsumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for room shows nothing; a call without an end needs a restart."""
    monkeypatch.setattr(receiver, "LONGEST_POLL", 0.1)
    busy, stuck = FakeQueue([[raw("1")]]), FakeQueue()
    full = started(busy, buffered=1)
    _until(lambda: len(full.buffer), "a full buffer")
    stuck.may_answer.clear()
    hanging = started(stuck)
    _until(lambda: missing(hanging), "the poll that hangs")
    assert "receiver q, in one poll for" in missing(hanging)[0]
    assert missing(full) == []
    stuck.may_answer.set()
    _until(lambda: not missing(hanging), "its end")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_ended_thread_fails_liveness(
    started: Callable[..., QueueConsumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug may end one; its queue would not be processed any more."""
    consumer = started(FakeQueue())

    def stumble(**_: object) -> bool:
        raise MemoryError

    _until(lambda: consumer.readiness_issue() is None, "a poll")
    monkeypatch.setattr(consumer.buffer, "wait_for_room", stumble)
    _until(lambda: missing(consumer), "the end of the thread")
    assert missing(consumer) == ["receiver q, in one poll has ended"]
    consumer.shut()
    _until(lambda: consumer.buffer.closed, "the shutdown")
    assert missing(consumer) == []  # then it is meant to end


def readiness_issue(breaker: Breaker) -> str | None:
    """Return its present issue."""
    return breaker.readiness_issue


def test_an_open_breaker_is_a_trouble_and_a_half_open_one_is_none() -> None:
    """On trial, commands are processed; otherwise the issue is reported."""
    breaker = Breaker("q")
    assert readiness_issue(breaker) is None
    for _ in range(3):
        breaker.report(store=False, topic=None)
    assert readiness_issue(breaker) is None
    breaker.ask()
    breaker.report(store=False, topic=None, probe=True)
    assert readiness_issue(breaker) == "the store is unavailable"
    now = 1e9
    breaker._clock = lambda: now
    breaker.ask()
    breaker.report(store=True, topic=None)
    assert readiness_issue(breaker) is None
    topic = Breaker("q")
    for _ in range(3):
        topic.report(store=True, topic=False)
    assert readiness_issue(topic) == "the topic is unavailable"
    topic.report(store=True, topic=True)
    assert readiness_issue(topic) is None


def test_the_readiness_issue_names_the_queue_and_the_reason(
    started: Callable[..., QueueConsumer],
) -> None:
    """The breaker's issue comes first: no polls are made while it is open."""
    consumer = started(FakeQueue())
    for _ in range(3):
        consumer.breaker.report(store=False, topic=None)
    _taken(consumer)
    consumer.breaker.report(store=False, topic=None, probe=True)
    assert consumer.readiness_issue() == "queue q: the store is unavailable"
    _taken(consumer)


def test_a_batch_in_hand_is_a_sign_until_it_is_acknowledged(
    consumers: Callable[..., Consumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest batch counts, from its delivery to the pool."""
    consumer = consumers(q=FakeQueue([[raw("1")], [raw("2")]]))
    consumer.consume(2)
    consumer.until(lambda: len(consumer.messages) == 2)
    liveness_checks = [
        liveness_check
        for liveness_check in consumer.channel.liveness_checks()
        if liveness_check.what == RUNNING_BATCH
    ]
    assert [
        (liveness_check.limit, liveness_check.missing) for liveness_check in liveness_checks
    ] == [(600, False)]
    first, second = consumer.messages
    monkeypatch.setattr(channel, "monotonic", lambda: 1e9)
    assert [
        str(s) for s in consumer.channel.liveness_checks() if s.missing and s.what == RUNNING_BATCH
    ]
    monkeypatch.undo()
    for message in (first, second):
        message.give_result(repr(Dispositions((Ack(),))))
        message.ack()
    assert [
        liveness_check
        for liveness_check in consumer.channel.liveness_checks()
        if liveness_check.what == RUNNING_BATCH
    ] == []
    assert list(consumer.channel.readiness_issues()) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_relay_reports_an_unavailable_store_and_its_own_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle worker reports it too; a relay that has not started reports nothing."""
    assert list(world.relay.liveness_checks()) == []
    away = True
    ended = threading.Event()

    def pending(*_: object) -> OutboxPage:
        if ended.is_set():
            raise SystemExit
        if away:
            raise StoreUnavailableError("down")
        return OutboxPage(())

    monkeypatch.setattr(world.outbox, "pending", pending)
    world.relay.start()
    _until(lambda: list(world.relay.readiness_issues()), "the trouble")
    [liveness_check] = world.relay.liveness_checks()
    assert not liveness_check.missing
    away = False
    _until(lambda: not list(world.relay.readiness_issues()), "the end of it")
    ended.set()
    _until(
        lambda: [s for s in world.relay.liveness_checks() if s.age == ENDED],
        "the end of the thread",
    )
    world.relay.stop()
    assert list(world.relay.liveness_checks()) == []
