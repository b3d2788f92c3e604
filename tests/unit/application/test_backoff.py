from __future__ import annotations

import pytest

from application.backoff import HALF, Backoff


def lowest(low: float, _high: float) -> float:
    """Draw the lower bound."""
    return low


def highest(_low: float, high: float) -> float:
    """Draw the upper bound."""
    return high


@pytest.mark.parametrize(
    ("base", "cap", "attempt", "expected"),
    [
        (0.2, 5.0, 1, 0.2),
        (0.2, 5.0, 2, 0.4),
        (0.2, 5.0, 5, 3.2),
        (0.2, 5.0, 6, 5.0),
        (0.2, 5.0, 1_000_000, 5.0),
        (1.0, 30.0, 5, 16.0),
        (1.0, 30.0, 6, 30.0),
        (0.1, float("inf"), 4, 0.8),
        (0.0, 30.0, 9, 0.0),
        (2.0, 900.0, 0, 2.0),
    ],
)
def test_a_delay_doubles_with_each_attempt_up_to_the_cap(
    base: float, cap: float, attempt: int, expected: float
) -> None:
    """The cap also holds for attempts whose doubling would overflow a float."""
    backoff = Backoff(base, cap, draw=highest)
    assert backoff.delay(attempt) == backoff.ceiling(attempt) == pytest.approx(expected)


@pytest.mark.parametrize(("fixed", "shortest"), [(0.0, 0.0), (HALF, 2.0)])
def test_full_jitter_starts_at_zero_and_half_jitter_at_half(fixed: float, shortest: float) -> None:
    """Both end at the delay without jitter."""
    assert Backoff(1.0, 30.0, fixed, lowest).delay(3) == shortest
    assert Backoff(1.0, 30.0, fixed, highest).delay(3) == 4.0


def test_a_delay_is_random_by_default() -> None:
    """Without a draw of its own, a back-off draws uniformly."""
    delays = {Backoff(1.0).delay(3) for _ in range(20)}
    assert len(delays) > 1
    assert all(0 <= delay <= 4 for delay in delays)
