from __future__ import annotations

import pytest

from application.disposition import DeadLetter, Disposition, Retry
from application.retry import MAX_DELAY, Failure, decide_disposition, delay

TRANSIENT = Failure("Unavailable", "the store did not answer")
PERMANENT = Failure("UnknownField", "data.x: is not a field", permanent=True)


def highest(_low: float, high: float) -> float:
    """Draw the upper bound."""
    return high


def lowest(low: float, _high: float) -> float:
    """Draw the lower bound."""
    return low


@pytest.mark.parametrize(
    ("failure", "receives", "expected"),
    [
        (TRANSIENT, 1, Retry(2)),
        (TRANSIENT, 2, Retry(4)),
        (TRANSIENT, 9, Retry(512)),
        (TRANSIENT, 10, Retry(MAX_DELAY)),
        (TRANSIENT, 11, Retry(MAX_DELAY)),
        (TRANSIENT, 12, DeadLetter("Unavailable", "the store did not answer")),
        (TRANSIENT, 13, DeadLetter("Unavailable", "the store did not answer")),
        (PERMANENT, 1, DeadLetter("UnknownField", "data.x: is not a field")),
        (PERMANENT, 12, DeadLetter("UnknownField", "data.x: is not a field")),
    ],
)
def test_a_failure_is_dead_when_permanent_or_on_the_last_receive_and_else_later(
    failure: Failure, receives: int, expected: Disposition
) -> None:
    """The complete table of decisions for a failed message."""
    assert decide_disposition(failure, receives, max_receives=12, draw=highest) == expected


@pytest.mark.parametrize("receives", [1, 5, 12, 1_000_000])
def test_the_delay_is_jittered_by_half_and_never_zero(receives: int) -> None:
    """A delay of zero would make a tight loop; a large count must not overflow."""
    assert 1 <= delay(receives, lowest) <= delay(receives, highest) <= MAX_DELAY
    assert delay(receives, lowest) == delay(receives, highest) // 2


def test_ten_minutes_of_failures_do_not_use_up_the_receives_even_with_the_worst_luck() -> None:
    """Eleven delays come before the twelfth receive, after which a message is dead-lettered."""
    assert sum(delay(receives, lowest) for receives in range(1, 12)) > 600
