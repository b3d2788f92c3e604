"""Refusals of deletes, changes of visibility or dead letters as a whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from structlog.testing import capture_logs

from application.disposition import Ack, DeadLetter, Disposition, Retry
from application.queue_port import CallFailed, DeadLetterMessage, Failures
from worker.transport import refusal
from worker.transport.consumer import QueueConsumer
from worker.transport.in_flight import MAX_HELD_SECONDS, Call, InFlight

from .test_transport_in_flight import raw
from .test_transport_threads import FakeQueue, _taken, _until, started

__all__ = ["started"]  # a fixture

DEAD = DeadLetter("Malformed", "-")
ORDERS: dict[str, Disposition] = {
    "delete": Ack(),
    "retry_later": Retry(400),
    "quarantine": DeadLetter("Malformed", "-", "redacted"),
    "dead_letter": DEAD,
}
OPERATIONS = {
    "delete": "DeleteMessageBatch",
    "retry_later": "ChangeMessageVisibilityBatch",
    "quarantine": "SendMessageBatch to the quarantine queue",
    "dead_letter": "SendMessageBatch to the dead-letter queue",
}


class DeniedError(Exception):
    """A refusal in the form that the adapter raises."""

    code = "AccessDenied"


ARBITRARY = [RuntimeError("x"), UnicodeDecodeError("utf-8", b"", 0, 1, "x"), KeyError("x")]


@dataclass
class Trial:
    """An `InFlight` with messages, on its own clock, with a queue that may refuse calls."""

    flight: InFlight
    kinds: frozenset[str] = frozenset()
    """The kinds of call that are refused."""
    whole: bool = True
    """Whether calls raise; otherwise every entry fails."""
    code: str = "AccessDenied"
    now: float = 1000.0
    calls: list[tuple[str, bool, int]] = field(default_factory=list)
    """Each call: its kind, whether it was refused, and its number of messages."""

    def run(self, seconds: float) -> None:
        """Advance the time, making the calls that are due."""
        end = self.now + seconds
        while self.now < end:
            for call in self.flight.due(self.now, 4):
                self._make(call)
            self.now = min(end, max(self.flight.next_due(), self.now + 0.01))

    def _make(self, call: Call) -> None:
        refused = call.kind in self.kinds
        self.calls.append((call.kind, refused, len(call.held)))
        codes = {held.message.receipt: self.code for held in call.held} if refused else {}
        failures: Failures = CallFailed(codes) if refused and self.whole else codes
        self.flight.finish(call, failures, self.now)

    def refused(self) -> int:
        """Return the number of refused calls."""
        return sum(refused for _, refused, _ in self.calls)


def _trial(count: int, *, timeout: int = 10, fifo: bool = False, **options: object) -> Trial:
    flight = InFlight(timeout, fifo, queue="q")
    flight.hold([raw(str(n), "g" if fifo else None) for n in range(count)], 1000.0, timeout)
    return Trial(flight, **options)  # type: ignore[arg-type]


def _trouble(trial: Trial) -> str | None:
    return trial.flight.readiness_issue


def _settle(trial: Trial, disposition: Disposition) -> None:
    receipts = list(trial.flight._held)
    trial.flight.apply([(receipt, disposition) for receipt in receipts], trial.now)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("kind", ["delete", "quarantine", "dead_letter"])
def test_a_refusal_of_minutes_costs_few_calls_and_gives_up_no_message(
    kind: str, *, whole: bool
) -> None:
    """They are renewed throughout; afterwards all follow in full calls. There is one log line."""
    trial = _trial(35, kinds=frozenset({kind}), whole=whole)
    _settle(trial, ORDERS[kind])
    with capture_logs() as logs:
        trial.run(240)
        assert _trouble(trial) == f"{OPERATIONS[kind]} fails: AccessDenied"
        assert len(trial.flight) == 35
        assert [line["event"] for line in logs] == ["settling_failed"]
        assert trial.refused() < 40
        assert min(held.visible_at for held in trial.flight._held.values()) > trial.now
        trial.kinds, trial.calls = frozenset(), []
        trial.run(refusal.BACKOFF.cap + 1)
    assert [line["event"] for line in logs] == ["settling_failed", "settling_again"]
    assert logs[0]["call"] == OPERATIONS[kind]
    assert logs[0]["reason"] == "AccessDenied"
    assert _trouble(trial) is None
    assert len(trial.flight) == 0
    assert [size for each, _, size in trial.calls if each == kind] == [1, 10, 10, 10, 4]


def test_while_visibility_cannot_be_changed_what_lapses_is_left_to_its_next_receive() -> None:
    """The refusal continues, and ends, without a message in flight."""
    trial = _trial(12, kinds=frozenset({"renew", "retry_later"}))
    _settle(trial, Retry(400))
    with capture_logs() as logs:
        trial.run(240)
        assert len(trial.flight) == 0
        assert _trouble(trial) == "ChangeMessageVisibilityBatch fails: AccessDenied"
        assert trial.refused() < 40
        trial.kinds = frozenset()
        trial.run(refusal.BACKOFF.cap + 1)
    assert [line["event"] for line in logs] == ["settling_failed", "settling_again"]
    assert _trouble(trial) is None


def test_deletes_go_on_while_visibility_cannot_be_changed_and_the_other_way_round() -> None:
    """A failing kind of call stops no other kind."""
    trial = _trial(20, timeout=60, kinds=frozenset({"renew", "retry_later"}))
    receipts = list(trial.flight._held)
    trial.flight.apply([(r, Retry(9)) for r in receipts[:10]], trial.now)
    trial.run(1)
    trial.flight.apply([(r, Ack()) for r in receipts[10:]], trial.now)
    trial.run(1)
    assert ("delete", False, 10) in trial.calls
    trial = _trial(20, timeout=60, kinds=frozenset({"delete"}))
    trial.flight.apply([(r, Ack()) for r in receipts[:10]], trial.now)
    trial.run(1)
    trial.flight.apply([(r, Retry(9)) for r in receipts[10:]], trial.now)
    trial.run(1)
    assert ("retry_later", False, 10) in trial.calls


def test_one_failed_call_does_not_count_as_a_refusal() -> None:
    """It is repeated in full a moment later, and nothing is logged."""
    trial = _trial(10, kinds=frozenset({"delete"}))
    _settle(trial, Ack())
    with capture_logs() as logs:
        trial.run(0.05)
        trial.kinds = frozenset()
        trial.run(1)
    assert [(kind, size) for kind, _, size in trial.calls] == [("delete", 10), ("delete", 10)]
    assert logs == []


def test_a_single_failing_message_blocks_no_other() -> None:
    """It is given up after several attempts; a call for another message succeeds."""
    trial = _trial(1, kinds=frozenset({"delete"}), whole=False, code="InternalError")
    _settle(trial, Ack())
    trial.run(200)
    assert _trouble(trial) is None
    assert len(trial.flight) == 0
    assert len(trial.calls) < 60


@pytest.mark.parametrize("whole", [True, False])
def test_messages_that_fail_one_by_one_are_a_refusal_too(*, whole: bool) -> None:
    """A queue with little traffic has calls with one message only."""
    trial = _trial(0, kinds=frozenset({"delete"}), whole=whole)
    for number in range(4):
        trial.flight.hold([raw(f"m{number}")], trial.now, 10)
        trial.flight.apply([(f"m{number}", Ack())], trial.now)
        trial.run(2)
    assert _trouble(trial) == "DeleteMessageBatch fails: AccessDenied"
    trial.run(240)
    assert len(trial.flight) == 4


@pytest.mark.parametrize("code", ["InvalidMessageContents", "BatchRequestTooLong"])
def test_a_letter_that_the_queue_refuses_is_retried_later_and_blocks_no_other(code: str) -> None:
    """The cause is its own content."""
    trial = _trial(2, kinds=frozenset({"dead_letter"}), whole=False, code=code)
    _settle(trial, DEAD)
    trial.run(30)
    assert _trouble(trial) is None
    assert [kind for kind, _, _ in trial.calls].count("dead_letter") == 3
    assert trial.calls[-1] == ("retry_later", False, 2)


def test_a_fifo_group_is_probed_whole() -> None:
    """If parts were postponed separately, later messages might become visible first."""
    trial = _trial(7, fifo=True, timeout=60, kinds=frozenset({"retry_later", "renew"}))
    _settle(trial, Retry(5))
    trial.run(20)
    assert {size for kind, _, size in trial.calls if kind == "retry_later"} == {7}


def test_what_is_finished_is_renewed_for_as_long_as_sqs_allows() -> None:
    """After twelve hours it becomes visible; the refusal is still probed."""
    trial = _trial(1, timeout=600, kinds=frozenset({"delete"}))
    _settle(trial, Ack())
    trial.run(MAX_HELD_SECONDS - 700)
    [held] = trial.flight._held.values()
    assert held.visible_at > trial.now
    trial.run(3600)
    assert _trouble(trial) is not None
    trial.kinds = frozenset()
    trial.run(refusal.BACKOFF.cap + 1)
    assert _trouble(trial) is None
    assert len(trial.flight) == 0


@pytest.mark.parametrize("kind", ["delete", "retry_later", "quarantine", "dead_letter"])
def test_a_shutdown_during_a_refusal_ends_after_one_more_try(kind: str) -> None:
    """The rest becomes visible by timeout; one log line has the number."""
    kinds = {"renew", "retry_later"} if kind == "retry_later" else {kind}
    trial = _trial(25, timeout=600, kinds=frozenset(kinds))
    _settle(trial, ORDERS[kind])
    trial.run(60)
    trial.calls.clear()
    with capture_logs() as logs:
        trial.flight.begin_finishing(trial.now)
        trial.run(3)
    assert not trial.flight.unfinished
    assert trial.refused() == 1
    assert [(line["event"], line["messages"]) for line in logs] == [("settling_abandoned", 25)]


def test_a_refusal_that_ends_during_a_shutdown_lets_all_follow() -> None:
    """Nothing that can be deleted is left."""
    trial = _trial(25, timeout=600, kinds=frozenset({"delete"}))
    _settle(trial, Ack())
    trial.run(60)
    trial.kinds = frozenset()
    trial.flight.begin_finishing(trial.now)
    trial.run(1)
    assert len(trial.flight) == 0


@dataclass
class RefusingQueue(FakeQueue):
    """Refuses the operations in `refused` with `error`."""

    refused: set[str] = field(default_factory=set)
    error: Exception = field(default_factory=DeniedError)
    refusals: int = 0

    def _may(self, operation: str) -> None:
        if operation in self.refused:
            self.refusals += 1
            raise self.error

    def delete(self, receipts: Sequence[str]) -> Failures:
        """See `CommandQueue`."""
        self._may("delete")
        return super().delete(receipts)

    def change_visibility(self, changes: Sequence[tuple[str, int]]) -> Failures:
        """Change it, unless it is refused."""
        self._may("retry_later")
        return super().change_visibility(changes)

    def quarantine(self, letters: Sequence[DeadLetterMessage]) -> Failures:
        """Send them, or refuse."""
        self._may("quarantine")
        return super().quarantine(letters)

    def dead_letter(self, letters: Sequence[DeadLetterMessage]) -> Failures:
        """Send them, unless it is refused."""
        self._may("dead_letter")
        return super().dead_letter(letters)


@pytest.mark.parametrize(
    ("kind", "error"),
    [*(("delete", e) for e in ARBITRARY), *((kind, DeniedError()) for kind in ORDERS)],
    ids=lambda each: each if isinstance(each, str) else type(each).__name__,
)
def test_receiving_stops_during_a_refusal_and_resumes_after_it(
    started: Callable[..., QueueConsumer],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    error: Exception,
) -> None:
    """For any exception of the client; the queue is not ready in the meantime."""
    monkeypatch.setattr(refusal, "BACKOFF", replace(refusal.BACKOFF, cap=0.4))
    queue = RefusingQueue([[raw("a")]], refused={kind}, error=error)
    consumer = started(queue, buffered=100)
    consumer.apply(_taken(consumer), [ORDERS[kind]])
    code = getattr(error, "code", type(error).__name__)
    says = f"queue q: {OPERATIONS[kind]} fails: {code}"
    _until(lambda: consumer.readiness_issue() == says, "the trouble")
    time.sleep(0.3)  # polls that were under way end
    polls = len(queue.polled)
    time.sleep(0.5)
    assert len(queue.polled) == polls
    assert consumer.readiness_issue() == says
    queue.refused.clear()
    _until(lambda: queue.settled and queue.settled[-1][0] == "a", "the settlement")
    _until(lambda: len(queue.polled) > polls, "the next poll")
    assert consumer.readiness_issue() is None


def test_a_queue_in_which_nothing_is_acknowledged_for_a_minute_is_not_ready(
    started: Callable[..., QueueConsumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only with messages in flight; an acknowledgement makes it ready again."""
    monkeypatch.setattr("worker.transport.acknowledger.STALLED_AFTER", 0.3)
    queue = FakeQueue([[raw("a"), raw("b")]])
    consumer = started(queue)
    batch = _taken(consumer)
    _until(lambda: "nothing was acknowledged" in (consumer.readiness_issue() or ""), "the trouble")
    assert "with 2 in flight" in (consumer.readiness_issue() or "")
    consumer.apply(batch, [Ack(), Ack()])
    _until(lambda: consumer.readiness_issue() is None, "readiness")
    time.sleep(0.5)
    assert consumer.readiness_issue() is None
    queue.answers.append([raw("c")])
    consumer.apply(_taken(consumer), [Ack()])
    assert consumer.readiness_issue() is None


def test_a_settler_that_hangs_is_noticed_before_it_holds_a_message(
    started: Callable[..., QueueConsumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Received messages wait in its inbox."""
    monkeypatch.setattr("worker.transport.acknowledger.STALLED_AFTER", 0.3)
    queue = FakeQueue()
    consumer = started(queue)
    consumer.acknowledger.post(lambda: time.sleep(1.5))
    queue.answers.append([raw("a")])
    batch = _taken(consumer)
    _until(lambda: "nothing was acknowledged" in (consumer.readiness_issue() or ""), "the trouble")
    consumer.apply(batch, [Ack()])
    _until(lambda: consumer.readiness_issue() is None, "readiness")
