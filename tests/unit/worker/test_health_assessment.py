"""The health report from what the parts of a worker report, with a clock set by the test."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import structlog

from application.health_source import ENDED, RUNNING_BATCH, LivenessCheck
from worker.health.assessment import LOOP_LIMIT, START_LIMIT, HealthAssessment
from worker.health.report import Report

SICK = Report(("the event loop has not run",), ("queue q: the store is unavailable",))


@dataclass
class Part:
    """A part of a worker that reports what the test sets."""

    tells: list[LivenessCheck] = field(default_factory=list)
    complains: list[str] = field(default_factory=list)

    def liveness_checks(self) -> list[LivenessCheck]:
        """Return its checks."""
        return self.tells

    def readiness_issues(self) -> list[str]:
        """Return its issues."""
        return self.complains


class Clock:
    """A clock that the test sets."""

    now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The clock of this test."""
    return Clock()


def running(clock: Clock, *parts: Part, blocks: bool = False) -> HealthAssessment:
    """Return the assessment of a worker that has started."""
    assessment = HealthAssessment(blocks=blocks, clock=clock)
    for part in parts:
        assessment.watch(lambda part=part: part)  # type: ignore[misc]
    assessment.beat()
    assessment.ready()
    return assessment


def test_a_worker_lives_while_its_loop_turns_and_its_parts_show_signs(clock: Clock) -> None:
    """Each check may be as old as its limit; an older one reports its name, age and limit."""
    part = Part([LivenessCheck("a poll", 10, 10)])
    assessment = running(clock, part)
    clock.now += LOOP_LIMIT
    assert assessment.report() == Report()
    clock.now += 1
    part.tells = [LivenessCheck("a poll", 11, 10), LivenessCheck("the relay", ENDED, 10)]
    assert assessment.report().not_live == (
        "a poll for 11 s (limit: 10 s)",
        "the relay has ended",
        "the event loop has not run for 31 s (limit: 30 s)",
    )
    assert not assessment.report().ready
    assessment.beat()
    part.tells = []
    assert assessment.report().live


def test_a_start_may_take_longer_than_a_turn(clock: Clock) -> None:
    """Children start before the first turn, but not without a limit."""
    assessment = HealthAssessment(clock=clock)
    clock.now += START_LIMIT
    assert assessment.report() == Report((), ("starting",))
    clock.now += 1
    assert not assessment.report().live


def test_waiting_for_aws_is_life_however_long_it_takes(clock: Clock) -> None:
    """An outage must not cause restarts; afterwards the loop has its full time again."""
    assessment = HealthAssessment(clock=clock)
    assessment.wait("nothing answers")
    clock.now += 100_000
    assert assessment.report() == Report((), ("starting: nothing answers",))
    assessment.go_on()
    assert assessment.report() == Report((), ("starting",))


def test_a_batch_that_blocks_the_loop_is_judged_by_its_own_age(clock: Clock) -> None:
    """With the solo pool the loop stops while a batch runs, possibly for minutes."""
    part = Part([LivenessCheck(RUNNING_BATCH, 500, 600)])
    solo, prefork = running(clock, part, blocks=True), running(clock, part)
    clock.now += 500
    assert solo.report().live
    assert not prefork.report().live
    part.tells = [LivenessCheck(RUNNING_BATCH, 601, 600)]
    assert solo.report().not_live == (f"{RUNNING_BATCH} for 601 s (limit: 600 s)",)
    part.tells = []
    assert not solo.report().live  # nothing excuses it then


def test_troubles_outside_make_it_unready_and_not_dead(clock: Clock) -> None:
    """The availability of AWS causes no restart; each issue is reported once."""
    assessment = running(
        clock, Part(complains=["q: the store is unavailable"]), Part(complains=["x", "x"])
    )
    assert assessment.report() == Report((), ("q: the store is unavailable", "x"))
    assert assessment.report().live
    assert not assessment.report().ready


def test_an_ending_worker_lives_and_is_not_ready(clock: Clock) -> None:
    """Its loop has ended, and the last batches still run."""
    assessment = running(clock)
    assessment.stop()
    clock.now += 1000
    assert assessment.report() == Report((), ("stopping",))


def test_a_part_that_is_not_created_yet_reports_nothing(clock: Clock) -> None:
    """The channel is created long after the first report."""
    assessment = running(clock)
    assessment.watch(lambda: None)
    assert assessment.report() == Report()


def test_a_bug_in_the_health_check_does_not_fail_liveness(clock: Clock) -> None:
    """The same holds for the file and HTTP: a restart would not fix a bug."""
    assessment = running(clock, Part(tells=["no sign"]))  # type: ignore[list-item]
    with structlog.testing.capture_logs() as lines:
        assert assessment.report() == Report((), ("unknown: see the worker's log",))
    assert [line["event"] for line in lines] == ["health_unknown"]
