"""What becomes of a message that could not be done: one pure decision.

A command ends in one of four ways. The domain's *rejections* are outcomes, not failures, and do
not come here. A *permanent* failure cannot be understood however often it is read: dead. A
*transient* one may pass: later, until the last receive. An *unknown type* may be understood
after the next deployment: as transient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from worker.settlement import Dead, Later, Settlement

MAX_DELAY = 900
"""Seconds; a quarter of an hour. Eleven delays are 23 minutes at least and 47 at most, so that an
outage of ten minutes does not use up twelve receives."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a message could not be done; `detail` names fields and rules, never values."""

    code: str
    detail: str
    permanent: bool = False
    body: str | None = None
    """What a dead letter carries instead of the body, where that held a secret."""
    store: bool = False
    """Whether it was the store that failed."""


Draw = Callable[[float, float], float]
"""Draws uniformly between two bounds, as `random.uniform` does."""


def settle(failure: Failure, receives: int, max_receives: int, draw: Draw) -> Settlement:
    """Decide between dead and later.

    `receives` counts this delivery; at `max_receives` the queue would give the message up
    without a reason, so the worker does it first, with one.
    """
    if failure.permanent or receives >= max_receives:
        return Dead(failure.code, failure.detail, failure.body)
    return Later(delay(receives, draw))


def delay(receives: int, draw: Draw) -> int:
    """Give the seconds until the next try: min(2^receives, 900), up to half of it taken off.

    Jitter over the whole, from nothing, would let one message in fifty spend twelve receives
    within ten minutes.
    """
    ceiling = min(2 ** min(receives, 10), MAX_DELAY)
    return max(1, round(draw(ceiling / 2, ceiling)))
