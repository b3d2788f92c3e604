from __future__ import annotations

from datetime import UTC, datetime, timedelta

from adapters.clock import SystemClock
from domain.values import parse_time, render_time


def test_the_time_is_now_in_utc() -> None:
    """In any time zone of the machine."""
    before = datetime.now(UTC)
    now = SystemClock().now()
    assert now.tzinfo is UTC
    assert before - timedelta(milliseconds=1) <= now <= datetime.now(UTC)


def test_a_time_that_is_stored_reads_back_equal() -> None:
    """Rendering in milliseconds loses nothing."""
    now = SystemClock().now()
    assert parse_time(render_time(now)) == now
