"""When the breaker lets a queue be received from, and how it finds its way back."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from worker.settlement import Trouble
from worker.transport.breaker import (
    LONGEST_PAUSE,
    PACE,
    REPORT_WITHIN,
    TOLERATED,
    Breaker,
    Probe,
    Receive,
    Wait,
)


@dataclass
class Clock:
    """A clock that stands still until told."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Give the time it was set to."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock of the test's own."""
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    """A breaker that is closed."""
    return Breaker("q", clock)


def _report(breaker: Breaker, trouble: Trouble | None, times: int = TOLERATED + 1) -> None:
    for _ in range(times):
        breaker.report(trouble)


def _pause(breaker: Breaker, clock: Clock) -> float:
    """Wait until the next probe is due; give how long that took."""
    advice = breaker.ask()
    assert isinstance(advice, Wait)
    clock.now += advice.seconds
    assert breaker.ask() == Probe()
    return advice.seconds


def test_all_there_is_may_be_received_while_batches_get_somewhere(breaker: Breaker) -> None:
    """A failed batch now and then is no outage."""
    for trouble in ("store", "store", None, "store", "topic", None):
        _report(breaker, trouble, 1)
        assert breaker.ask() == Receive(10)


def test_nothing_is_received_while_the_store_is_away(breaker: Breaker, clock: Clock) -> None:
    """Ten minutes of outage are some dozens of probes, and no receive."""
    _report(breaker, "store")
    end, probes, longest = clock.now + 600, 0, 0.0
    while clock.now < end:
        longest = max(longest, _pause(breaker, clock))
        probes += 1
        breaker.report("store")
    assert 20 <= probes <= 60
    assert LONGEST_PAUSE / 2 <= longest <= LONGEST_PAUSE


def test_one_probe_at_a_time(breaker: Breaker, clock: Clock) -> None:
    """Several receivers of a queue ask the same breaker."""
    _report(breaker, "store")
    _pause(breaker, clock)
    assert isinstance(breaker.ask(), Wait)


def test_a_probe_that_gets_an_answer_begins_a_trial_that_grows(
    breaker: Breaker, clock: Clock
) -> None:
    """A store that comes back is not met by the whole backlog at once."""
    _report(breaker, "store")
    _pause(breaker, clock)
    sizes: list[int] = []
    while len(sizes) < 6:
        breaker.report(None)
        advice = breaker.ask()
        assert isinstance(advice, Receive)
        sizes.append(advice.messages)
    assert sizes == [1, 2, 4, 8, 10, 10]


def test_a_trial_that_fails_opens_the_breaker_for_longer(breaker: Breaker, clock: Clock) -> None:
    """One probe too early must not start everything from the beginning."""
    _report(breaker, "store")
    first = _pause(breaker, clock)
    breaker.report(None)
    assert breaker.ask() == Receive(1)
    breaker.report("store")
    assert _pause(breaker, clock) >= first


def test_a_trial_without_messages_is_tried_again(breaker: Breaker, clock: Clock) -> None:
    """An empty queue says nothing about the store."""
    _report(breaker, "store")
    _pause(breaker, clock)
    breaker.report(None)
    for _ in range(3):
        assert breaker.ask() == Receive(1)
        breaker.received_nothing()


def test_a_probe_that_never_reports_counts_as_failed(breaker: Breaker, clock: Clock) -> None:
    """Its child may have been killed, or the store may hang."""
    _report(breaker, "store")
    _pause(breaker, clock)
    clock.now += REPORT_WITHIN
    assert isinstance(breaker.ask(), Wait)
    _pause(breaker, clock)


def test_late_reports_from_before_neither_prolong_the_pause_nor_end_it(
    breaker: Breaker, clock: Clock
) -> None:
    """All that was in flight when the store went away fails one after the other."""
    _report(breaker, "store", 50)
    assert _pause(breaker, clock) <= 1
    breaker.report("store")
    _report(breaker, None, 5)
    assert isinstance(breaker.ask(), Wait)


def test_the_receiving_is_paced_while_the_topic_is_away(breaker: Breaker, clock: Clock) -> None:
    """Commands are committed all the same; the outbox must not outgrow the relay."""
    _report(breaker, "topic")
    received = 0
    end = clock.now + 60
    while clock.now < end:
        advice = breaker.ask()
        if isinstance(advice, Wait):
            clock.now += advice.seconds
        else:
            assert advice == Receive(10)
            received += 1
            breaker.report("topic")
    assert 55 <= received <= 60 / PACE + 1


def test_the_first_batch_that_is_published_ends_the_pacing(breaker: Breaker) -> None:
    """Nothing is in doubt then: the topic takes events again."""
    _report(breaker, "topic")
    assert breaker.ask() == Receive(10)
    breaker.report(None)
    assert [breaker.ask(), breaker.ask()] == [Receive(10), Receive(10)]


def test_an_episode_is_told_in_two_lines(breaker: Breaker, clock: Clock) -> None:
    """One when it begins and one when it ends, however long it lasts."""
    with capture_logs() as logs:
        _report(breaker, "store", 20)
        for _ in range(5):
            _pause(breaker, clock)
            breaker.report("store")
        _pause(breaker, clock)
        for _ in range(5):
            breaker.report(None)
            breaker.ask()
        breaker.report(None)
        _report(breaker, "topic", 20)
        breaker.report(None)
    assert [line["event"] for line in logs] == [
        "receiving_stopped",
        "receiving_at_full_speed",
        "receiving_slowed",
        "receiving_at_full_speed",
    ]
