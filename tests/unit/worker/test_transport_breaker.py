"""When the breaker lets a queue be received from, and how it finds its way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import pytest
from structlog.testing import capture_logs

from worker.transport.breaker import (
    BACKOFF,
    PACE,
    REPORT_WITHIN,
    TOLERATED,
    Breaker,
    Probe,
    Receive,
    Wait,
)


class Met(TypedDict):
    """What a batch met."""

    store: bool | None
    topic: bool | None


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


AWAY: Met = {"store": False, "topic": None}
TOPIC_AWAY: Met = {"store": True, "topic": False}
STORED: Met = {"store": True, "topic": None}
"""As a batch of duplicates, or a probe that gets its answer."""
WELL: Met = {"store": True, "topic": True}
NOTHING: Met = {"store": None, "topic": None}
"""As a batch of junk: it proves nothing."""


def _report(breaker: Breaker, met: Met, times: int = TOLERATED + 1) -> None:
    for _ in range(times):
        breaker.report(**met)


def _open(breaker: Breaker) -> None:
    """Open the breaker: batches fail, and then the probe that they cause."""
    _report(breaker, AWAY)
    assert breaker.ask() == Probe()
    breaker.report(**AWAY, probe=True)


def _pause(breaker: Breaker, clock: Clock) -> float:
    """Wait until the next probe is due; return how long that took, in seconds."""
    advice = breaker.ask()
    assert isinstance(advice, Wait)
    clock.now += advice.seconds
    assert breaker.ask() == Probe()
    return advice.seconds


def test_all_there_is_may_be_received_while_batches_get_somewhere(breaker: Breaker) -> None:
    """A failed batch now and then is no outage."""
    for met in (AWAY, AWAY, WELL, AWAY, AWAY, TOPIC_AWAY, TOPIC_AWAY, AWAY, WELL):
        breaker.report(**met)
        assert breaker.ask() == Receive(10)


def test_nothing_is_received_while_the_store_is_away(breaker: Breaker, clock: Clock) -> None:
    """Ten minutes of outage are some dozens of probes, and no receive."""
    _open(breaker)
    end, probes, longest = clock.now + 600, 0, 0.0
    while clock.now < end:
        longest = max(longest, _pause(breaker, clock))
        probes += 1
        breaker.report(**AWAY, probe=True)
    assert 20 <= probes <= 60
    assert BACKOFF.cap / 2 <= longest <= BACKOFF.cap


def test_one_probe_at_a_time(breaker: Breaker, clock: Clock) -> None:
    """Several receivers of a queue ask the same breaker."""
    _open(breaker)
    _pause(breaker, clock)
    assert isinstance(breaker.ask(), Wait)


def test_a_probe_that_gets_an_answer_begins_a_trial_that_grows(
    breaker: Breaker, clock: Clock
) -> None:
    """A store that comes back is not met by the whole backlog at once."""
    _open(breaker)
    _pause(breaker, clock)
    sizes: list[int] = []
    while len(sizes) < 6:
        breaker.report(**STORED)
        advice = breaker.ask()
        assert isinstance(advice, Receive)
        sizes.append(advice.messages)
    assert sizes == [1, 2, 4, 8, 10, 10]


def test_a_trial_that_fails_opens_the_breaker_for_longer(breaker: Breaker, clock: Clock) -> None:
    """One probe too early must not start everything from the beginning."""
    _open(breaker)
    first = _pause(breaker, clock)
    breaker.report(**STORED)
    assert breaker.ask() == Receive(1)
    breaker.report(**AWAY)
    assert _pause(breaker, clock) >= first


def test_a_trial_without_messages_is_tried_again(breaker: Breaker, clock: Clock) -> None:
    """An empty queue says nothing about the store."""
    _open(breaker)
    _pause(breaker, clock)
    breaker.report(**STORED)
    for _ in range(3):
        assert breaker.ask() == Receive(1)
        breaker.trial_received_nothing()


def test_a_probe_that_never_reports_counts_as_failed(breaker: Breaker, clock: Clock) -> None:
    """Its child may have been killed, or the store may hang."""
    _open(breaker)
    _pause(breaker, clock)
    clock.now += REPORT_WITHIN
    assert isinstance(breaker.ask(), Wait)
    _pause(breaker, clock)


def test_late_reports_from_before_neither_prolong_the_pause_nor_end_it(
    breaker: Breaker, clock: Clock
) -> None:
    """All that was in flight when the store went away fails one after the other."""
    _open(breaker)
    _report(breaker, AWAY, 50)
    assert _pause(breaker, clock) <= 1
    _report(breaker, AWAY, 5)
    breaker.report(**AWAY, probe=True)
    _report(breaker, WELL, 5)
    assert isinstance(breaker.ask(), Wait)


def test_the_receiving_is_paced_while_the_topic_is_away(breaker: Breaker, clock: Clock) -> None:
    """Commands are committed all the same; the outbox must not outgrow the relay."""
    _report(breaker, TOPIC_AWAY)
    received = 0
    end = clock.now + 60
    while clock.now < end:
        advice = breaker.ask()
        if isinstance(advice, Wait):
            clock.now += advice.seconds
        else:
            assert advice == Receive(10)
            received += 1
            breaker.report(**TOPIC_AWAY)
    assert 55 <= received <= 60 / PACE + 1


def test_the_first_batch_that_is_published_ends_the_pacing(breaker: Breaker) -> None:
    """Nothing is in doubt then: the topic takes events again. A duplicate proves nothing."""
    _report(breaker, TOPIC_AWAY)
    assert breaker.ask() == Receive(10)
    _report(breaker, STORED)
    assert isinstance(breaker.ask(), Wait)
    breaker.report(**WELL)
    assert [breaker.ask(), breaker.ask()] == [Receive(10), Receive(10)]


def test_an_episode_is_told_in_two_lines(breaker: Breaker, clock: Clock) -> None:
    """One when it begins and one when it ends, however long it lasts."""
    with capture_logs() as logs:
        _open(breaker)
        _report(breaker, AWAY, 20)
        for _ in range(5):
            _pause(breaker, clock)
            breaker.report(**AWAY, probe=True)
        _pause(breaker, clock)
        for _ in range(5):
            breaker.report(**STORED)
            breaker.ask()
        breaker.report(**STORED)
        _report(breaker, TOPIC_AWAY, 20)
        breaker.report(**WELL)
    assert [line["event"] for line in logs] == [
        "receiving_stopped",
        "receiving_at_full_speed",
        "receiving_slowed",
        "receiving_at_full_speed",
    ]


def test_junk_neither_ends_a_trial_nor_proves_the_store(breaker: Breaker, clock: Clock) -> None:
    """The store had nothing to do with it, so the same is tried again."""
    _open(breaker)
    _pause(breaker, clock)
    breaker.report(**STORED)
    for _ in range(3):
        assert breaker.ask() == Receive(1)
        breaker.report(**NOTHING)


def test_junk_between_failures_does_not_hide_an_outage(breaker: Breaker) -> None:
    """Only what depended on the store counts, for it or against it."""
    for _ in range(TOLERATED + 1):
        breaker.report(**AWAY)
        breaker.report(**NOTHING)
    assert breaker.ask() == Probe()


def test_failures_of_the_topic_do_not_count_against_the_store(breaker: Breaker) -> None:
    """One batch that the store fails is no outage, however long the topic has been away."""
    _report(breaker, TOPIC_AWAY, 20)
    breaker.report(**AWAY)
    assert breaker.ask() == Receive(10)


def test_a_probe_that_succeeds_keeps_the_breaker_closed(breaker: Breaker) -> None:
    """Three batches in a row that hold one throttled user only are no outage."""
    with capture_logs() as logs:
        _report(breaker, AWAY)
        assert breaker.ask() == Probe()
        assert (breaker.readiness_issue, breaker.state) == (None, 2)
        breaker.report(**STORED, probe=True)
        assert breaker.ask() == Receive(10)
    assert logs == []


def test_a_success_of_another_batch_clears_the_suspicion_and_its_failure_does_not_confirm_it(
    breaker: Breaker,
) -> None:
    """Batches of before the probe still report while it runs."""
    _report(breaker, AWAY)
    assert breaker.ask() == Probe()
    _report(breaker, AWAY, 10)
    assert breaker.readiness_issue is None
    breaker.report(**WELL)
    assert breaker.ask() == Receive(10)


def test_batches_that_all_fail_open_the_breaker_in_spite_of_successful_probes(
    breaker: Breaker, clock: Clock
) -> None:
    """Writes may be refused that a probe does not make."""
    _report(breaker, AWAY)
    assert breaker.ask() == Probe()
    breaker.report(**STORED, probe=True)
    _report(breaker, AWAY)
    assert breaker.readiness_issue == "the store is unavailable"
    assert _pause(breaker, clock) <= 1


def test_a_success_between_two_suspicions_has_each_judged_by_a_probe(breaker: Breaker) -> None:
    """A throttled user fills three batches now and then."""
    for _ in range(5):
        _report(breaker, AWAY)
        assert breaker.ask() == Probe()
        breaker.report(**STORED, probe=True)
        breaker.report(**WELL)
    assert breaker.ask() == Receive(10)
