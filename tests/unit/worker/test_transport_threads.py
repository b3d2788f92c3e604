"""The transport's threads with a fake queue: they survive any error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from application.disposition import Ack, DeadLetter, Disposition, Retry
from application.queue_port import DeadLetterMessage, Failures, RawMessage
from worker.transport.batching import Batch
from worker.transport.consumer import QueueConsumer
from worker.transport.options import Options

from .test_transport_in_flight import raw


@dataclass
class FakeQueue:
    """Returns prepared answers to `receive`, then nothing; records every call."""

    answers: list[Sequence[RawMessage] | BaseException] = field(default_factory=list)
    readiness_issues: list[BaseException] = field(default_factory=list)
    """Raised by the next acknowledging calls."""
    settled: list[tuple[str, str]] = field(default_factory=list)
    polling: threading.Event = field(default_factory=threading.Event)
    may_answer: threading.Event = field(default_factory=threading.Event)
    polled: list[tuple[int, int, int]] = field(default_factory=list)
    """Each poll's arguments: messages, seconds to wait, seconds of invisibility."""
    latency: float = 0.01
    at_a_time: int = 0
    most_at_a_time: int = 0
    """Concurrent polls, now and at most."""
    calls: int = 0
    """Acknowledging calls that did not raise."""

    def __post_init__(self) -> None:
        self.may_answer.set()

    def receive(
        self, max_messages: int, wait_seconds: int, visibility_timeout: int
    ) -> Sequence[RawMessage]:
        """Return the next answer."""
        self.polled.append((max_messages, wait_seconds, visibility_timeout))
        self.at_a_time += 1
        self.most_at_a_time = max(self.most_at_a_time, self.at_a_time)
        self.polling.set()
        self.may_answer.wait(10)
        time.sleep(self.latency)
        self.at_a_time -= 1
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def delete(self, receipts: Sequence[str]) -> Failures:
        """Record it."""
        return self._note((receipt, "deleted") for receipt in receipts)

    def change_visibility(self, changes: Sequence[tuple[str, int]]) -> Failures:
        """Record it."""
        return self._note((receipt, f"visible in {seconds}") for receipt, seconds in changes)

    def quarantine(self, letters: Sequence[DeadLetterMessage]) -> Failures:
        """Record it."""
        return self._note((letter.message.receipt, "quarantined") for letter in letters)

    def dead_letter(self, letters: Sequence[DeadLetterMessage]) -> Failures:
        """Record it."""
        return self._note((letter.message.receipt, "dead-lettered") for letter in letters)

    def _note(self, rows: Iterator[tuple[str, str]]) -> Failures:
        if self.readiness_issues:
            raise self.readiness_issues.pop(0)
        self.settled += rows
        self.calls += 1
        return {}


def _consumer(
    queue: FakeQueue,
    *,
    buffered: int = 2,
    idle_after: float = 60,
    batch_size: int = 1,
    receivers: int = 1,
    batch_wait: float = 0.0,
) -> QueueConsumer:
    options = Options(
        command_queue_factory=lambda _: queue,
        visibility_timeout=60,
        wait_seconds=1,
        idle_after=idle_after,
        receivers=receivers,
        batch_size=batch_size,
        batch_wait=batch_wait,
    )
    return QueueConsumer("q", options, lambda: None, lambda: buffered)


@pytest.fixture
def started() -> Iterator[Callable[..., QueueConsumer]]:
    """Start consumers, and finish them after the test."""
    consumers: list[QueueConsumer] = []

    def start(queue: FakeQueue, **options: float) -> QueueConsumer:
        consumers.append(_consumer(queue, **options))  # type: ignore[arg-type]  # mostly whole
        consumers[-1].start()
        return consumers[-1]

    yield start
    for consumer in consumers:
        assert consumer.finish(5)


def _until(look: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 30
    while not look():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def _taken(consumer: QueueConsumer) -> Batch:
    deadline = time.monotonic() + 30
    while (batch := consumer.take(1)) is None:
        assert time.monotonic() < deadline, "a batch"
        time.sleep(0.005)
    return batch


def test_receiving_survives_any_error_and_logs_it_once(
    started: Callable[..., QueueConsumer],
) -> None:
    """Any exception; one log line at its beginning and one at its end."""
    errors = [OSError("reset"), KeyError("junk"), ValueError("a\nb"), RuntimeError()]
    with capture_logs() as logs:
        consumer = started(FakeQueue([*errors, [raw("a")]]))
        assert _taken(consumer).receipts == ["a"]
        _until(lambda: len(logs) == 2, "both lines")
    assert [line["event"] for line in logs] == ["receiving_failed", "receiving_again"]
    assert logs[0]["reason"] == "OSError: reset"


def test_a_full_buffer_stops_the_receiving(started: Callable[..., QueueConsumer]) -> None:
    """Back-pressure: no poll until a batch is taken."""
    queue = FakeQueue([[raw(str(n))] for n in range(4)])
    consumer = started(queue, buffered=2)
    _until(lambda: len(consumer.buffer) == 2, "two batches")
    assert len(queue.polled) == 2
    _taken(consumer)
    _until(lambda: len(queue.polled) == 3, "the next poll")


def test_a_task_takes_what_several_receives_brought(started: Callable[..., QueueConsumer]) -> None:
    """The buffer holds full tasks for each that may start, in the order received."""
    queue = FakeQueue([[raw(f"{n}{k}") for k in range(10)] for n in range(9)])
    consumer = started(queue, buffered=2, batch_size=30)
    _until(lambda: len(consumer.buffer) == 6, "six receives")
    assert len(queue.polled) == 6
    expected = [f"{n}{k}" for n in range(3) for k in range(10)]
    assert _taken(consumer).receipts == expected


def test_receives_are_not_joined_while_as_many_tasks_may_start(
    started: Callable[..., QueueConsumer],
) -> None:
    """No message waits in a long task while another child is free."""
    queue = FakeQueue([[raw(f"{n}{k}") for k in range(10)] for n in range(2)])
    consumer = started(queue, buffered=2, batch_size=20)
    _until(lambda: len(consumer.buffer) == 2, "two receives")
    sizes = [len(batch.messages) for batch in (consumer.take(2), consumer.take(1)) if batch]
    assert sizes == [10, 10]


def test_a_batch_that_lapsed_in_part_is_let_go_whole(started: Callable[..., QueueConsumer]) -> None:
    """Another worker may be processing the expired message now."""
    queue = FakeQueue([[raw("a")], [raw("b")]])
    consumer = started(queue, buffered=2, batch_size=10)
    _until(lambda: len(consumer.buffer) == 2, "both")
    consumer.acknowledger._in_flight.lost.add("b")
    assert consumer.take(1) is None
    _until(lambda: len(queue.settled) == 2, "the release")


def test_what_a_poll_brings_after_the_shutdown_is_let_go() -> None:
    """Waiting batches at once, late ones on arrival; those in flight at the end only."""
    queue = FakeQueue([[raw("running")], [raw("waiting")], [raw("late")]])
    consumer = _consumer(queue, buffered=2)
    consumer.start()
    assert _taken(consumer).receipts == ["running"]
    _until(lambda: len(consumer.buffer) == 1, "the waiting batch")
    queue.polling.clear()
    queue.may_answer.clear()
    queue.polling.wait(5)
    consumer.shut()
    _until(lambda: ("waiting", "visible in 0") in queue.settled, "the release")
    assert consumer.take(1) is None
    queue.may_answer.set()
    _until(lambda: len(queue.settled) == 2, "the late one's release")
    assert consumer.finish(5)
    released = [f"{receipt} {fate}" for receipt, fate in queue.settled]
    assert sorted(released) == sorted(
        ["waiting visible in 0", "late visible in 0", "running visible in 0"]
    )


def test_settling_outlives_failing_calls(started: Callable[..., QueueConsumer]) -> None:
    """Each call that raises is repeated; dead letters are sent before they are deleted."""
    queue = FakeQueue([[raw("a"), raw("b"), raw("c")]], [OSError(), TimeoutError(), ValueError()])
    consumer = started(queue)
    batch = _taken(consumer)
    fates: list[Disposition] = [Ack(), Retry(9), DeadLetter("Malformed", "-", "redacted")]
    consumer.acknowledger.apply(zip(batch.receipts, fates, strict=True))
    _until(lambda: len(queue.settled) == 5, "all settled")
    assert sorted(queue.settled) == [
        ("a", "deleted"),
        ("b", "visible in 9"),
        ("c", "dead-lettered"),
        ("c", "deleted"),
        ("c", "quarantined"),
    ]
    assert queue.settled.index(("c", "quarantined")) < queue.settled.index(("c", "dead-lettered"))
    assert queue.settled.index(("c", "dead-lettered")) < queue.settled.index(("c", "deleted"))


def test_the_settler_outlives_an_error_of_its_own(started: Callable[..., QueueConsumer]) -> None:
    """For any posted function."""
    queue = FakeQueue([[raw("a")]])
    consumer = started(queue)
    with capture_logs() as logs:
        consumer.acknowledger.post(lambda: (_ for _ in ()).throw(RuntimeError("a bug")))
        consumer.acknowledger.apply([(_taken(consumer).receipts[0], Ack())])
        _until(lambda: queue.settled == [("a", "deleted")], "the delete")
    assert [line["event"] for line in logs] == ["settler_stumbled"]


def test_settlements_of_several_batches_share_a_call(started: Callable[..., QueueConsumer]) -> None:
    """Dispositions that arrive together are deleted together."""
    queue = FakeQueue([[raw(str(n))] for n in range(5)])
    consumer = started(queue, buffered=5)
    receipts = [_taken(consumer).receipts[0] for _ in range(5)]
    all_there = threading.Event()

    def hold() -> None:
        all_there.wait(10)

    consumer.acknowledger.post(hold)
    for receipt in receipts:
        consumer.acknowledger.apply([(receipt, Ack())])
    all_there.set()
    _until(lambda: len(queue.settled) == 5, "all deleted")
    assert queue.calls < 5


def test_an_idle_queue_is_polled_as_seldom_as_sqs_allows(
    started: Callable[..., QueueConsumer],
) -> None:
    """The messages of such a poll are invisible for a short time, in case it is abandoned."""
    queue = FakeQueue([[raw("a")]])
    started(queue, idle_after=0.3)
    _until(lambda: len(queue.polled) > 1 and queue.polled[-1][1] == 20, "the idle poll")
    assert queue.polled[0] == (10, 1, 60)
    assert queue.polled[-1] == (10, 20, 10)


def test_a_message_ends_the_idleness(started: Callable[..., QueueConsumer]) -> None:
    """From then on, polls are short enough for a shutdown to wait."""
    queue = FakeQueue()
    consumer = started(queue, idle_after=0.2)
    _until(lambda: queue.polled and queue.polled[-1][1] == 20, "the idle poll")
    polls = len(queue.polled)
    queue.answers.append([raw("a")])
    _taken(consumer)
    _until(lambda: (10, 1, 60) in queue.polled[polls:], "a short poll again")


def test_the_end_does_not_wait_for_an_idle_poll() -> None:
    """Twenty seconds are too long for an operator, and for most orchestrators."""
    queue = FakeQueue()
    consumer = _consumer(queue, idle_after=0)
    queue.may_answer.clear()
    consumer.start()
    assert queue.polling.wait(5)
    began = time.monotonic()
    assert consumer.finish(8)
    assert time.monotonic() - began < 4
    queue.may_answer.set()


def test_nothing_is_received_while_the_store_is_unavailable(
    started: Callable[..., QueueConsumer],
) -> None:
    """A batch without messages probes the store; if it answers, one message is tried."""
    queue = FakeQueue()
    consumer = started(queue)
    for _ in range(3):
        consumer.breaker.report(store=False, topic=None)
    _until(queue.polling.is_set, "the poll under way")
    for _ in range(2):
        probe = _taken(consumer)
        assert probe.messages == ()
        consumer.breaker.report(store=False, topic=None, probe=True)
    polls = len(queue.polled)
    time.sleep(0.3)
    assert len(queue.polled) == polls
    probe = _taken(consumer)
    consumer.breaker.report(store=True, topic=None, probe=True)
    _until(lambda: len(queue.polled) > polls, "the trial")
    assert queue.polled[polls][0] == 1


def test_a_second_receiver_polls_only_while_polls_bring_all_that_they_can(
    started: Callable[..., QueueConsumer],
) -> None:
    """A burst is received by two threads, and an idle queue is polled by one."""
    flood = [[raw(f"{poll}-{n}") for n in range(10)] for poll in range(6)]
    queue = FakeQueue([[raw("a")], [raw("b")]])
    consumer = started(queue, buffered=100, receivers=2)
    _until(lambda: len(queue.polled) >= 4, "polls of a trickle")
    assert queue.most_at_a_time == 1
    queue.polling.clear()
    queue.may_answer.clear()
    queue.answers += flood
    _until(queue.polling.is_set, "a poll under way")
    queue.may_answer.set()
    _until(lambda: queue.most_at_a_time == 2, "two polls at a time")
    _until(lambda: len(consumer.buffer) == 8, "the whole flood")
    polls = len(queue.polled)
    _until(lambda: len(queue.polled) > polls + 4, "polls after the flood")
    queue.most_at_a_time, polls = 0, len(queue.polled)
    _until(lambda: len(queue.polled) > polls + 2, "some more")
    assert queue.most_at_a_time == 1


def test_a_batch_that_waits_is_filled_by_few_polls(started: Callable[..., QueueConsumer]) -> None:
    """Twelve messages, one every 20 ms: a poll at once would bring one message a call."""

    class Trickle(FakeQueue):
        def receive(
            self, max_messages: int, wait_seconds: int, visibility_timeout: int
        ) -> Sequence[RawMessage]:
            arrived, self.answers = self.answers[:10], self.answers[10:]
            self.answers.insert(0, [raw for answer in arrived for raw in answer])  # type: ignore[union-attr]
            return super().receive(max_messages, wait_seconds, visibility_timeout)

    queue = Trickle(latency=0.001)
    consumer = started(queue, batch_size=20, batch_wait=0.5)
    began = time.monotonic()
    for number in range(12):
        queue.answers.append([raw(str(number))])
        time.sleep(0.02)
    batch = _taken(consumer)
    assert time.monotonic() - began >= 0.4
    assert batch.receipts == [str(number) for number in range(12)]
    assert len(queue.polled) <= 16, "some polls before the first message, and at most 8 after it"


def test_a_shutdown_does_not_wait_for_a_batch_to_fill() -> None:
    """Its messages become visible at once, and a receiver that pauses ends."""
    queue = FakeQueue([[raw("a")], [raw("b")]])
    consumer = _consumer(queue, batch_size=20, batch_wait=30)
    consumer.start()
    _until(lambda: len(queue.polled) >= 2 and not queue.answers, "both messages")
    assert consumer.take(1) is None
    began = time.monotonic()
    consumer.shut()
    _until(lambda: len(queue.settled) == 2, "the release")
    assert consumer.finish(5)
    assert time.monotonic() - began < 3
    assert sorted(queue.settled) == [("a", "visible in 0"), ("b", "visible in 0")]
    assert consumer.take(1) is None


def test_a_batch_does_not_wait_while_the_breaker_receives_less(
    started: Callable[..., QueueConsumer],
) -> None:
    """Little or nothing arrives then, and a trial must be answered soon."""
    queue = FakeQueue([[raw("a")]])
    consumer = started(queue, batch_size=20, batch_wait=30)
    _until(lambda: len(consumer.buffer) == 1, "the message")
    assert consumer.take(1) is None
    for _ in range(3):
        consumer.breaker.report(store=False, topic=None)
    batch = consumer.take(1)
    assert batch is not None
    assert batch.receipts == ["a"]
    assert _taken(consumer).messages == (), "the probe"
    consumer.breaker.report(store=False, topic=None, probe=True)
    _until(lambda: len(consumer.buffer) == 1, "the next probe")
    assert _taken(consumer).messages == ()
    consumer.breaker.report(store=True, topic=None, probe=True)
    queue.answers.append([raw("trial")])
    began = time.monotonic()
    assert _taken(consumer).receipts == ["trial"]
    assert time.monotonic() - began < 10


def test_a_batch_that_waits_is_not_a_failure(started: Callable[..., QueueConsumer]) -> None:
    """Neither live nor ready depends on it, and its messages stay held."""
    queue = FakeQueue([[raw("a")]])
    consumer = started(queue, batch_size=20, batch_wait=30)
    _until(lambda: len(consumer.buffer) == 1, "the message")
    time.sleep(0.2)
    assert consumer.readiness_issue() is None
    assert not any(check.missing for check in consumer.liveness_checks())
    assert consumer.acknowledger.in_hand == 1
    assert queue.settled == []


def test_messages_that_arrive_during_a_poll_wait_from_then_on(
    started: Callable[..., QueueConsumer],
) -> None:
    """A pause before that poll does not shorten their wait."""
    queue = FakeQueue([[raw("a"), raw("b")]])
    consumer = started(queue, batch_size=3, batch_wait=2.0)
    _until(lambda: len(consumer.buffer) == 1, "the first batch")
    queue.may_answer.clear()
    queue.polling.clear()
    assert queue.polling.wait(5), "the poll after the pause"
    time.sleep(1)
    queue.answers.insert(0, [raw("c"), raw("d")])  # too many for the first batch
    queue.may_answer.set()
    assert _taken(consumer).receipts == ["a", "b"]
    began = time.monotonic()
    assert _taken(consumer).receipts == ["c", "d"]
    assert time.monotonic() - began >= 1.8
