"""The transport's threads against a queue made for tests: they outlive whatever it does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from application.disposition import Dead, Done, Later, Settlement
from worker.transport.batching import Batch
from worker.transport.consumer import Intake
from worker.transport.port import DeadLetter, Failures
from worker.transport.receiver import Polling

from .test_transport_in_flight import Raw


@dataclass
class FakeQueue:
    """Gives prepared answers to `receive`, then nothing; notes every settlement."""

    answers: list[Sequence[Raw] | BaseException] = field(default_factory=list)
    troubles: list[BaseException] = field(default_factory=list)
    """Raised by the next settling calls."""
    settled: list[tuple[str, str]] = field(default_factory=list)
    polling: threading.Event = field(default_factory=threading.Event)
    may_answer: threading.Event = field(default_factory=threading.Event)
    polled: list[tuple[int, int, int]] = field(default_factory=list)
    """What each poll asked for: messages, seconds to wait, seconds of invisibility."""
    latency: float = 0.01
    at_a_time: int = 0
    most_at_a_time: int = 0
    """Polls under way, now and at most."""
    calls: int = 0
    """Settling calls that did not raise."""

    def __post_init__(self) -> None:
        self.may_answer.set()

    def check(self) -> None:
        """See `CommandQueue`, as for the rest."""

    def receive(
        self, max_messages: int, wait_seconds: int, visibility_timeout: int
    ) -> Sequence[Raw]:
        """Give the next answer."""
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
        """Note it."""
        return self._note((receipt, "deleted") for receipt in receipts)

    def change_visibility(self, changes: Sequence[tuple[str, int]]) -> Failures:
        """Note it."""
        return self._note((receipt, f"visible in {seconds}") for receipt, seconds in changes)

    def dead_letter(self, letters: Sequence[DeadLetter]) -> Failures:
        """Note it."""
        return self._note((letter.message.receipt, "dead-lettered") for letter in letters)

    def _note(self, rows: Iterator[tuple[str, str]]) -> Failures:
        if self.troubles:
            raise self.troubles.pop(0)
        self.settled += rows
        self.calls += 1
        return {}


def _intake(
    queue: FakeQueue,
    *,
    buffered: int = 2,
    idle_after: float = 60,
    batch_size: int = 1,
    receivers: int = 1,
) -> Intake:
    return Intake(
        "q",
        queue,
        lambda: None,
        buffered=lambda: buffered,
        polling=Polling(wait_seconds=1, visibility_timeout=60, idle_after=idle_after),
        receivers=receivers,
        batch_size=batch_size,
    )


@pytest.fixture
def started() -> Iterator[Callable[..., Intake]]:
    """Start intakes, and finish them after the test."""
    intakes: list[Intake] = []

    def start(queue: FakeQueue, **options: int) -> Intake:
        intakes.append(_intake(queue, **options))
        intakes[-1].start()
        return intakes[-1]

    yield start
    for intake in intakes:
        assert intake.finish(5)


def _until(look: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 30
    while not look():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def _taken(intake: Intake) -> Batch:
    deadline = time.monotonic() + 30
    while (batch := intake.take(1)) is None:
        assert time.monotonic() < deadline, "a batch"
        time.sleep(0.005)
    return batch


def test_receiving_survives_everything_and_tells_once(started: Callable[..., Intake]) -> None:
    """Exceptions of any kind; one line when it begins and one when it ends."""
    errors = [OSError("reset"), KeyError("junk"), ValueError("a\nb"), RuntimeError()]
    with capture_logs() as logs:
        intake = started(FakeQueue([*errors, [Raw("a")]]))
        assert _taken(intake).receipts == ["a"]
        _until(lambda: len(logs) == 2, "both lines")
    assert [line["event"] for line in logs] == ["receiving_failed", "receiving_again"]
    assert logs[0]["reason"] == "OSError: reset"


def test_a_full_buffer_stops_the_receiving(started: Callable[..., Intake]) -> None:
    """Back-pressure: no poll until somebody takes a batch."""
    queue = FakeQueue([[Raw(str(n))] for n in range(4)])
    intake = started(queue, buffered=2)
    _until(lambda: len(intake.buffer) == 2, "two batches")
    assert len(queue.polled) == 2
    _taken(intake)
    _until(lambda: len(queue.polled) == 3, "the next poll")


def test_a_task_takes_what_several_receives_brought(started: Callable[..., Intake]) -> None:
    """As much as a task may carry is buffered for each that may start, in the order received."""
    queue = FakeQueue([[Raw(f"{n}{k}") for k in range(10)] for n in range(9)])
    intake = started(queue, buffered=2, batch_size=30)
    _until(lambda: len(intake.buffer) == 6, "six receives")
    assert len(queue.polled) == 6
    expected = [f"{n}{k}" for n in range(3) for k in range(10)]
    assert _taken(intake).receipts == expected


def test_receives_are_not_joined_while_as_many_tasks_may_start(
    started: Callable[..., Intake],
) -> None:
    """Nobody waits in a long task for what another child could do at the same time."""
    queue = FakeQueue([[Raw(f"{n}{k}") for k in range(10)] for n in range(2)])
    intake = started(queue, buffered=2, batch_size=20)
    _until(lambda: len(intake.buffer) == 2, "two receives")
    sizes = [len(batch.messages) for batch in (intake.take(2), intake.take(1)) if batch]
    assert sizes == [10, 10]


def test_a_batch_that_lapsed_in_part_is_let_go_whole(started: Callable[..., Intake]) -> None:
    """Whoever has the lapsed message now may be at work on it."""
    queue = FakeQueue([[Raw("a")], [Raw("b")]])
    intake = started(queue, buffered=2, batch_size=10)
    _until(lambda: len(intake.buffer) == 2, "both")
    intake.settler._in_flight.lost.add("b")
    assert intake.take(1) is None
    _until(lambda: len(queue.settled) == 2, "the release")


def test_what_a_poll_brings_after_the_shutdown_is_let_go() -> None:
    """Waiting batches at once, late ones when they come; in-flight ones only at the end."""
    queue = FakeQueue([[Raw("running")], [Raw("waiting")], [Raw("late")]])
    intake = _intake(queue, buffered=2)
    intake.start()
    assert _taken(intake).receipts == ["running"]
    _until(lambda: len(intake.buffer) == 1, "the waiting batch")
    queue.polling.clear()
    queue.may_answer.clear()
    queue.polling.wait(5)
    intake.shut()
    _until(lambda: ("waiting", "visible in 0") in queue.settled, "the release")
    assert intake.take(1) is None
    queue.may_answer.set()
    _until(lambda: len(queue.settled) == 2, "the late one's release")
    assert intake.finish(5)
    released = [f"{receipt} {fate}" for receipt, fate in queue.settled]
    assert sorted(released) == sorted(
        ["waiting visible in 0", "late visible in 0", "running visible in 0"]
    )


def test_settling_outlives_failing_calls(started: Callable[..., Intake]) -> None:
    """Each call that raises is made again; dead letters are sent before they are deleted."""
    queue = FakeQueue([[Raw("a"), Raw("b"), Raw("c")]], [OSError(), TimeoutError(), ValueError()])
    intake = started(queue)
    batch = _taken(intake)
    fates: list[Settlement] = [Done(), Later(9), Dead("Malformed", "-")]
    intake.settler.settle(zip(batch.receipts, fates, strict=True))
    _until(lambda: len(queue.settled) == 4, "all settled")
    assert sorted(queue.settled) == [
        ("a", "deleted"),
        ("b", "visible in 9"),
        ("c", "dead-lettered"),
        ("c", "deleted"),
    ]
    assert queue.settled.index(("c", "dead-lettered")) < queue.settled.index(("c", "deleted"))


def test_the_settler_outlives_an_error_of_its_own(started: Callable[..., Intake]) -> None:
    """Whatever is posted to it."""
    queue = FakeQueue([[Raw("a")]])
    intake = started(queue)
    with capture_logs() as logs:
        intake.settler.post(lambda: (_ for _ in ()).throw(RuntimeError("a bug")))
        intake.settler.settle([(_taken(intake).receipts[0], Done())])
        _until(lambda: queue.settled == [("a", "deleted")], "the delete")
    assert [line["event"] for line in logs] == ["settler_stumbled"]


def test_settlements_of_several_batches_share_a_call(started: Callable[..., Intake]) -> None:
    """Those that come together are deleted together."""
    queue = FakeQueue([[Raw(str(n))] for n in range(5)])
    intake = started(queue, buffered=5)
    receipts = [_taken(intake).receipts[0] for _ in range(5)]
    all_there = threading.Event()

    def hold() -> None:
        all_there.wait(10)

    intake.settler.post(hold)
    for receipt in receipts:
        intake.settler.settle([(receipt, Done())])
    all_there.set()
    _until(lambda: len(queue.settled) == 5, "all deleted")
    assert queue.calls < 5


def test_an_idle_queue_is_polled_as_seldom_as_sqs_allows(started: Callable[..., Intake]) -> None:
    """And what such a poll brings is not hidden for long, should nobody wait for its end."""
    queue = FakeQueue([[Raw("a")]])
    started(queue, idle_after=0.3)
    _until(lambda: len(queue.polled) > 1 and queue.polled[-1][1] == 20, "the idle poll")
    assert queue.polled[0] == (10, 1, 60)
    assert queue.polled[-1] == (10, 20, 10)


def test_a_message_ends_the_idleness(started: Callable[..., Intake]) -> None:
    """From then on the queue is polled in a way that a shutdown can wait for."""
    queue = FakeQueue()
    intake = started(queue, idle_after=0.2)
    _until(lambda: queue.polled and queue.polled[-1][1] == 20, "the idle poll")
    polls = len(queue.polled)
    queue.answers.append([Raw("a")])
    _taken(intake)
    _until(lambda: (10, 1, 60) in queue.polled[polls:], "a short poll again")


def test_the_end_does_not_wait_for_an_idle_poll() -> None:
    """Twenty seconds are too long for a person, and for most orchestrators."""
    queue = FakeQueue()
    intake = _intake(queue, idle_after=0)
    queue.may_answer.clear()
    intake.start()
    assert queue.polling.wait(5)
    began = time.monotonic()
    assert intake.finish(8)
    assert time.monotonic() - began < 4
    queue.may_answer.set()


def test_nothing_is_received_while_the_store_is_away(started: Callable[..., Intake]) -> None:
    """A batch without messages asks for it; when it gets an answer, one message is tried."""
    queue = FakeQueue()
    intake = started(queue)
    for _ in range(3):
        intake.breaker.report(store=False, topic=None)
    _until(queue.polling.is_set, "the poll under way")
    for _ in range(2):
        probe = _taken(intake)
        assert probe.messages == ()
        intake.breaker.report(store=False, topic=None, probe=True)
    polls = len(queue.polled)
    time.sleep(0.3)
    assert len(queue.polled) == polls
    probe = _taken(intake)
    intake.breaker.report(store=True, topic=None, probe=True)
    _until(lambda: len(queue.polled) > polls, "the trial")
    assert queue.polled[polls][0] == 1


def test_a_second_receiver_polls_only_while_polls_bring_all_that_they_can(
    started: Callable[..., Intake],
) -> None:
    """A flood is received by two at a time, and an idle queue is polled by one."""
    flood = [[Raw(f"{poll}-{n}") for n in range(10)] for poll in range(6)]
    queue = FakeQueue([[Raw("a")], [Raw("b")]])
    intake = started(queue, buffered=100, receivers=2)
    _until(lambda: len(queue.polled) >= 4, "polls of a trickle")
    assert queue.most_at_a_time == 1
    queue.polling.clear()
    queue.may_answer.clear()
    queue.answers += flood
    _until(queue.polling.is_set, "a poll under way")
    queue.may_answer.set()
    _until(lambda: queue.most_at_a_time == 2, "two polls at a time")
    _until(lambda: len(intake.buffer) == 8, "the whole flood")
    polls = len(queue.polled)
    _until(lambda: len(queue.polled) > polls + 4, "polls after the flood")
    queue.most_at_a_time, polls = 0, len(queue.polled)
    _until(lambda: len(queue.polled) > polls + 2, "some more")
    assert queue.most_at_a_time == 1
