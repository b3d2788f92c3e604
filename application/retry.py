"""When a message that failed is retried, and when it is dead-lettered: one pure decision.

A *rejection* by the domain is an outcome, not a failure, and is not decided here. A *permanent*
failure can never be understood: it is dead-lettered at once. A *transient* failure may pass: the
message is retried with growing delays until its last receive. An *unknown type* may be known after
the next deployment: it is retried like a transient failure, but from a minute on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from application.disposition import DeadLetter, Disposition, Retry

FIRST_DELAY = 2
"""Seconds, at most, before the second receive."""
MAX_DELAY = 900
"""Seconds; a quarter of an hour. Eleven delays are 23 minutes at least and 47 at most, so that an
outage of ten minutes does not use up twelve receives."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a message failed; `detail` names fields and rules, never values."""

    code: str
    detail: str
    permanent: bool = False
    body: str | None = None
    """What a dead letter carries instead of the body, where that held a secret."""
    store: bool = False
    """Whether the store as a whole failed, and not only for the items of this message."""
    first_delay: int = FIRST_DELAY
    """Seconds, at most, before the second receive; doubled for each one after it."""


Draw = Callable[[float, float], float]
"""Draws uniformly between two bounds, as `random.uniform` does."""


def decide_disposition(
    failure: Failure, receives: int, max_receives: int, draw: Draw
) -> Disposition:
    """Decide whether a message is retried or dead-lettered.

    `receives` counts this delivery. At `max_receives` the queue's redrive policy would move the
    message without a reason, so the worker dead-letters it first, with the reason.
    """
    if failure.permanent or receives >= max_receives:
        return DeadLetter(failure.code, failure.detail, failure.body)
    return Retry(delay(receives, draw, failure.first_delay))


def delay(receives: int, draw: Draw, first: int = FIRST_DELAY) -> int:
    """Return the seconds until the next receive: `first` doubled each receive, at most `MAX_DELAY`.

    Up to half of it is taken off as jitter. Jitter over the whole, from zero, would let one message
    in fifty use up twelve receives within ten minutes.
    """
    ceiling = min(first * 2 ** min(receives - 1, 10), MAX_DELAY)
    return max(1, round(draw(ceiling / 2, ceiling)))
