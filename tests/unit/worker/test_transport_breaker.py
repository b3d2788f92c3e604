"""When the breaker allows receives from a queue, and how it closes again."""

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
    """The report of a batch."""

    store: bool | None
    topic: bool | None


@dataclass
class Clock:
    """A clock that the test sets."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Return the time it was set to."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The clock of this test."""
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    """A closed breaker."""
    return Breaker("q", clock)


AWAY: Met = {"store": False, "topic": None}
TOPIC_AWAY: Met = {"store": True, "topic": False}
STORED: Met = {"store": True, "topic": None}
"""Like a batch of duplicates, or a successful probe."""
WELL: Met = {"store": True, "topic": True}
NOTHING: Met = {"store": None, "topic": None}
"""Like a batch of invalid messages: it proves nothing."""


def _report(breaker: Breaker, met: Met, times: int = TOLERATED + 1) -> None:
    for _ in range(times):
        breaker.report(**met)


def _open(breaker: Breaker) -> None:
    """Open the breaker: batches fail, and then the probe that they cause."""
    _report(breaker, AWAY)
    assert breaker.ask() == Probe()
    breaker.report(**AWAY, probe=True)


def _pause(breaker: Breaker, clock: Clock) -> float:
    """Wait until the next probe is due; return the seconds waited."""
    advice = breaker.ask()
    assert isinstance(advice, Wait)
    clock.now += advice.seconds
    assert breaker.ask() == Probe()
    return advice.seconds


def test_all_there_is_may_be_received_while_batches_get_somewhere(breaker: Breaker) -> None:
    """A single failed batch is no outage."""
    for met in (AWAY, AWAY, WELL, AWAY, AWAY, TOPIC_AWAY, TOPIC_AWAY, AWAY, WELL):
        breaker.report(**met)
        assert breaker.ask() == Receive(10)


def test_nothing_is_received_while_the_store_is_unavailable(breaker: Breaker, clock: Clock) -> None:
    """Ten minutes of outage cost some dozens of probes, and no receive."""
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
    """A store that is available again does not get the whole backlog at once."""
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
    """A probe that is too early must not reset the delays."""
    _open(breaker)
    first = _pause(breaker, clock)
    breaker.report(**STORED)
    assert breaker.ask() == Receive(1)
    breaker.report(**AWAY)
    assert _pause(breaker, clock) >= first


def test_a_trial_without_messages_is_tried_again(breaker: Breaker, clock: Clock) -> None:
    """An empty queue shows nothing about the store."""
    _open(breaker)
    _pause(breaker, clock)
    breaker.report(**STORED)
    for _ in range(3):
        assert breaker.ask() == Receive(1)
        breaker.trial_received_nothing()


def test_a_probe_that_never_reports_counts_as_failed(breaker: Breaker, clock: Clock) -> None:
    """Its child may have been killed, or the store may not answer."""
    _open(breaker)
    _pause(breaker, clock)
    clock.now += REPORT_WITHIN
    assert isinstance(breaker.ask(), Wait)
    _pause(breaker, clock)


def test_late_reports_from_before_neither_prolong_the_pause_nor_end_it(
    breaker: Breaker, clock: Clock
) -> None:
    """All batches in flight at the start of the outage fail one after another."""
    _open(breaker)
    _report(breaker, AWAY, 50)
    assert _pause(breaker, clock) <= 1
    _report(breaker, AWAY, 5)
    breaker.report(**AWAY, probe=True)
    _report(breaker, WELL, 5)
    assert isinstance(breaker.ask(), Wait)


def test_receiving_is_slowed_while_the_topic_is_unavailable(breaker: Breaker, clock: Clock) -> None:
    """Commands are committed all the same; the outbox must not grow faster than the relay works."""
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
    """The topic accepts events again. A duplicate proves nothing."""
    _report(breaker, TOPIC_AWAY)
    assert breaker.ask() == Receive(10)
    _report(breaker, STORED)
    assert isinstance(breaker.ask(), Wait)
    breaker.report(**WELL)
    assert [breaker.ask(), breaker.ask()] == [Receive(10), Receive(10)]


def test_an_episode_is_logged_in_two_lines(breaker: Breaker, clock: Clock) -> None:
    """One at its beginning and one at its end, however long it lasts."""
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
    """It did not need the store, so the trial is repeated."""
    _open(breaker)
    _pause(breaker, clock)
    breaker.report(**STORED)
    for _ in range(3):
        assert breaker.ask() == Receive(1)
        breaker.report(**NOTHING)


def test_junk_between_failures_does_not_hide_an_outage(breaker: Breaker) -> None:
    """Only batches that needed the store count."""
    for _ in range(TOLERATED + 1):
        breaker.report(**AWAY)
        breaker.report(**NOTHING)
    assert breaker.ask() == Probe()


def test_failures_of_the_topic_do_not_count_against_the_store(breaker: Breaker) -> None:
    """One batch that the store fails is no outage, however long the topic is unavailable."""
    _report(breaker, TOPIC_AWAY, 20)
    breaker.report(**AWAY)
    assert breaker.ask() == Receive(10)


def test_a_probe_that_succeeds_keeps_the_breaker_closed(breaker: Breaker) -> None:
    """Three batches in a row with one throttled user are no outage."""
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
    """Earlier batches still report while the probe runs."""
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
    """A throttled user may fail three batches in a row."""
    for _ in range(5):
        _report(breaker, AWAY)
        assert breaker.ask() == Probe()
        breaker.report(**STORED, probe=True)
        breaker.report(**WELL)
    assert breaker.ask() == Receive(10)
