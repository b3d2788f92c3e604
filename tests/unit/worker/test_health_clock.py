"""The comparison of the worker's clock with AWS's answers."""

from __future__ import annotations

from structlog.testing import capture_logs

from worker.health.clock import CONFIRMATIONS, LIMIT, ClockWatch


def test_a_clock_that_differs_makes_the_worker_unready_until_it_agrees() -> None:
    """One log line at the beginning and one at the end, each with the seconds."""
    watch = ClockWatch()
    with capture_logs() as logs:
        watch.observe(3600)
        assert list(watch.readiness_issues()) == []
        for _ in range(CONFIRMATIONS + 3):
            watch.observe(47.4)
        assert list(watch.readiness_issues()) == ["the clock is 47 s ahead of AWS's"]
        watch.observe(-90)
        assert list(watch.readiness_issues()) == ["the clock is 90 s behind AWS's"]
        watch.observe(LIMIT)
        assert list(watch.readiness_issues()) == []
    assert [(line["event"], line["seconds"]) for line in logs] == [
        ("clock_differs", 47.4),
        ("clock_agrees", 30.0),
    ]
    assert list(watch.liveness_checks()) == []


def test_single_answers_that_differ_are_not_believed() -> None:
    """One odd answer among many right ones is a fault of that answer."""
    watch = ClockWatch()
    for seconds in (100.0, 0.0) * 10:
        watch.observe(seconds)
    assert list(watch.readiness_issues()) == []
