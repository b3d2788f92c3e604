"""The state machine that owns the receipts: what is due, and when; time is a number."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from application.disposition import Ack, DeadLetter, Disposition, Retry
from application.queue_port import RawMessage
from worker.transport.in_flight import LINGER, Call, InFlight

T0 = 1000.0


def raw(
    receipt: str, group_id: str | None = None, receives: int = 1, *, body: str = "{}"
) -> RawMessage:
    """Return a message."""
    return RawMessage(f"id of {receipt}", receipt, body, receives, 0.0, 0.0, group_id)


def _in_flight(count: int = 1, *, timeout: int = 60, fifo: bool = False) -> InFlight:
    flight = InFlight(timeout, fifo)
    flight.hold([raw(str(n), "g" if fifo else None) for n in range(count)], T0, timeout)
    return flight


def _settle(flight: InFlight, disposition: Disposition, *receipts: str, now: float = T0) -> None:
    flight.apply([(receipt, disposition) for receipt in receipts], now)


def _receipts(call: Call) -> list[str]:
    return [held.message.receipt for held in call.held]


def _due(flight: InFlight, now: float, limit: int = 4) -> list[tuple[str, list[str]]]:
    return [(call.kind, _receipts(call)) for call in flight.due(now, limit)]


def _succeed(flight: InFlight, calls: list[Call], now: float) -> None:
    for call in calls:
        flight.finish(call, {}, now)


def test_messages_are_renewed_at_half_their_timeout_in_one_call() -> None:
    """Not earlier, and again half a timeout later."""
    flight = _in_flight(10)
    assert _due(flight, T0 + 29) == []
    assert flight.next_due() == T0 + 30
    calls = flight.due(T0 + 30, 4)
    assert [call.kind for call in calls] == ["renew"]
    assert len(calls[0].held) == 10
    _succeed(flight, calls, T0 + 30)
    assert _due(flight, T0 + 59) == []
    assert [kind for kind, _ in _due(flight, T0 + 60)] == ["renew"]


def test_renewal_ends_after_ten_timeouts_but_a_late_result_still_counts() -> None:
    """The message of a stuck task reappears; if the task ends after all, its result is used."""
    flight = _in_flight(timeout=10)
    now, renewals = T0, 0
    while now < T0 + 300:
        calls = flight.due(now, 4)
        renewals += len(calls)
        _succeed(flight, calls, now)
        now += 1
    assert renewals == 20
    _settle(flight, Ack(), "0", now=now)
    assert _due(flight, now + 1) == [("delete", ["0"])]


def test_nothing_is_held_longer_than_sqs_allows() -> None:
    """Twelve hours in total, or SQS refuses the renewal."""
    flight = _in_flight(timeout=30_000)
    assert _due(flight, T0 + 15_000) == []


def test_settlements_gather_for_a_moment_and_go_at_once_when_ten() -> None:
    """One call for the dispositions of several tasks."""
    flight = _in_flight(12)
    _settle(flight, Ack(), "0")
    assert _due(flight, T0) == []
    _settle(flight, Ack(), "1", now=T0 + LINGER / 2)
    assert _due(flight, T0 + LINGER) == [("delete", ["0", "1"])]
    _settle(flight, Ack(), *[str(n) for n in range(2, 12)])
    assert [len(r) for _, r in _due(flight, T0)] == [10]


def test_a_fifo_queues_settlements_do_not_wait() -> None:
    """The group's next messages wait for them."""
    flight = _in_flight(1, fifo=True)
    _settle(flight, Ack(), "0")
    assert _due(flight, T0) == [("delete", ["0"])]


def test_a_renewal_cannot_overwrite_a_back_off() -> None:
    """Decided during its renewal, it is delayed after it; once delayed, it is not renewed."""
    flight = _in_flight()
    [renewal] = flight.due(T0 + 30, 4)
    _settle(flight, Retry(7), "0", now=T0 + 30)
    assert _due(flight, T0 + 40) == []
    flight.finish(renewal, {}, T0 + 40)
    [change] = flight.due(T0 + 61, 4)
    assert change.kind == "retry_later"
    flight.finish(change, {"0": "InternalError"}, T0 + 61)
    assert "renew" not in [kind for kind, _ in _due(flight, T0 + 200)]


def test_a_message_that_lapsed_is_not_settled() -> None:
    """The renewal shows that it is gone; a later result makes no call."""
    flight = _in_flight(2)
    [renewal] = flight.due(T0 + 30, 4)
    flight.finish(renewal, {"0": "ReceiptHandleIsInvalid"}, T0 + 30)
    assert flight.lost == {"0"}
    _settle(flight, Ack(), "0", "1", now=T0 + 31)
    assert _due(flight, T0 + 32) == [("delete", ["1"])]
    assert flight.lost == set()


def test_a_dead_letter_is_deleted_only_once_it_is_sent() -> None:
    """First the dead-letter queue, then the delete."""
    flight = _in_flight()
    _settle(flight, DeadLetter("Malformed", "-"), "0")
    [burial] = flight.due(T0 + 1, 4)
    assert burial.kind == "dead_letter"
    flight.finish(burial, {}, T0 + 1)
    assert _due(flight, T0 + 1) == [("delete", ["0"])]


REDACTED = DeadLetter("Malformed", "-", "[string of 2 characters]", complete=False)


def test_the_original_is_sent_before_its_letter_and_only_once() -> None:
    """A letter that cannot be sent at first is sent again, and its original is not."""
    flight, now, kinds = _in_flight(), T0, []
    _settle(flight, REDACTED, "0")
    while flight.unfinished:
        now += 1
        for call in flight.due(now, 4):
            kinds.append(call.kind)
            failed = kinds.count("dead_letter") == 1 and call.kind == "dead_letter"
            flight.finish(call, {"0": "InternalError"} if failed else {}, now)
    assert kinds == ["quarantine", "dead_letter", "dead_letter", "delete"]


def test_an_original_that_cannot_be_sent_delays_its_letter_alone() -> None:
    """The message is retried later; the letters that need no original are sent."""
    flight, now, sent = _in_flight(3), T0, dict[str, list[str]]()
    _settle(flight, REDACTED, "0", "1")
    _settle(flight, DeadLetter("Unavailable", "-"), "2")
    while flight.unfinished:
        now += 1
        for call in flight.due(now, 4):
            for receipt in _receipts(call):
                sent.setdefault(receipt, []).append(call.kind)
            bad = call.kind == "quarantine" and "0" in _receipts(call)
            flight.finish(call, {"0": "InvalidMessageContents"} if bad else {}, now)
    assert sent == {
        "0": ["quarantine", "quarantine", "quarantine", "retry_later"],
        "1": ["quarantine", "dead_letter", "delete"],
        "2": ["dead_letter", "delete"],
    }


def test_a_dead_letter_that_cannot_be_sent_is_retried() -> None:
    """After three attempts the message is retried later, and never deleted."""
    flight, now, kinds = _in_flight(), T0, []
    _settle(flight, DeadLetter("Malformed", "-"), "0")
    while flight.unfinished:
        now += 1
        for call in flight.due(now, 4):
            kinds.append(call.kind)
            flight.finish(call, {"0": "AccessDenied"} if call.kind == "dead_letter" else {}, now)
    assert kinds == ["dead_letter", "dead_letter", "dead_letter", "retry_later"]


def test_failed_entries_are_tried_again_and_the_others_are_not() -> None:
    """Each entry of a partial failure is handled separately."""
    flight = _in_flight(3)
    _settle(flight, Ack(), "0", "1", "2")
    [call] = flight.due(T0 + 1, 4)
    flight.finish(call, {"1": "InternalError"}, T0 + 1)
    assert _due(flight, T0 + 2) == [("delete", ["1"])]


def test_what_finds_no_free_lane_stays_due() -> None:
    """`due` returns no more calls than allowed, and forgets none."""
    flight = _in_flight(25)
    _settle(flight, Ack(), *[str(n) for n in range(25)])
    first = _due(flight, T0 + 1, 1)
    rest = _due(flight, T0 + 1, 4)
    assert sorted(r for _, call in first + rest for r in call) == sorted(str(n) for n in range(25))


def test_release_makes_visible_at_once() -> None:
    """A message that no task has seen gets a timeout of 0, without waiting for others."""
    flight = _in_flight(2)
    flight.release(["0", "1"], T0)
    [call] = flight.due(T0, 4)
    assert call.kind == "retry_later"
    assert [held.disposition for held in call.held] == [Retry(0), Retry(0)]


def test_a_fifo_group_is_released_whole_or_not() -> None:
    """No message goes back before an earlier one of its group that a task still has."""
    flight = InFlight(60, fifo=True)
    flight.hold([raw("a1", "a"), raw("a2", "a"), raw("b1", "b")], T0, 60)
    flight.release(["a2", "b1"], T0)
    assert _due(flight, T0) == [("retry_later", ["b1"])]


def test_a_fifo_group_is_put_off_by_one_call() -> None:
    """Two concurrent calls may end in either order, and the group would reappear in parts."""
    flight = InFlight(60, fifo=True)
    messages = [raw(f"{group}{n}", group) for group in "abc" for n in range(7)]
    flight.hold(messages, T0, 60)
    _settle(flight, Retry(5), *[message.receipt for message in messages])
    calls = [receipts for _, receipts in _due(flight, T0)]
    assert calls == [[f"{group}{n}" for n in range(7)] for group in "abc"]


def test_what_failed_together_is_tried_again_together() -> None:
    """Otherwise a FIFO group would reappear in parts."""
    flight = InFlight(60, fifo=True)
    flight.hold([raw(f"a{n}", "a") for n in range(10)], T0, 60)
    _settle(flight, Retry(5), *[f"a{n}" for n in range(10)])
    now = T0
    for _ in range(3):
        [call] = flight.due(now, 4)
        assert len(call.held) == 10
        flight.finish(call, dict.fromkeys(_receipts(call), "ServiceUnavailable"), now)
        now = flight.next_due()


@pytest.mark.parametrize("disposition", [Ack(), Retry(3), DeadLetter("Malformed", "-")])
def test_the_first_settlement_stands(disposition: Disposition) -> None:
    """A release at the end does not replace a result."""
    flight = _in_flight()
    _settle(flight, disposition, "0")
    flight.release({"0"}, T0)
    [call] = flight.due(T0 + 1, 4)
    assert call.held[0].disposition == disposition


dispositions: st.SearchStrategy[Disposition] = st.sampled_from(
    [Ack(), Retry(5), DeadLetter("Malformed", "-")]
)
codes = st.sampled_from([None, None, "InternalError", "ReceiptHandleIsInvalid"])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_receipt_is_in_at_most_one_call_and_every_order_ends(data: st.DataObject) -> None:
    """This holds for any failures and any order in which calls end."""
    flight, now = _in_flight(15, timeout=10), T0
    open_calls: list[Call] = []
    settled: set[str] = set()
    for _ in range(data.draw(st.integers(5, 40))):
        now += data.draw(st.sampled_from([0.0, 0.1, 3.0]))
        receipt = str(data.draw(st.integers(0, 14)))
        _settle(flight, data.draw(dispositions), receipt, now=now)
        open_calls += flight.due(now, 4)
        busy = [r for call in open_calls for r in _receipts(call)]
        assert len(busy) == len(set(busy))
        ends = data.draw(st.integers(-1, 3))
        if 0 <= ends < len(open_calls):
            call = open_calls.pop(ends)
            results = {r: data.draw(codes) for r in _receipts(call)}
            flight.finish(call, {r: code for r, code in results.items() if code}, now)
        settled.add(receipt)
    for call in open_calls:
        flight.finish(call, {}, now)
    for _ in range(20):
        now += 1
        _succeed(flight, flight.due(now, 4), now)
    assert not flight.unfinished
    assert len(flight) <= 15 - len(settled)
