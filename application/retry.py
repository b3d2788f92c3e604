"""Decide whether a failed message is retried or dead-lettered; a pure function.

A *rejection* by the domain is an outcome, not a failure, and is not decided here. A *permanent*
failure cannot succeed: the message is dead-lettered at once. A *transient* failure may pass: the
message is retried with growing delays until its last receive. An *unknown type* may be known after
the next deployment: the message is retried like after a transient failure, but from a minute on. On
a FIFO queue it is a permanent failure, because the rest of its group would wait for it. The
failures are defined in `application.batch` and `application.batch_results`.
"""

from __future__ import annotations

from dataclasses import dataclass

from application.backoff import HALF, Backoff, Draw
from application.disposition import DeadLetter, Disposition, Retry

FIRST_DELAY = 2
"""Maximum seconds before the second receive."""
MAX_DELAY = 900
"""Seconds. Eleven delays add up to at least 23 and at most 47 minutes, so that an outage of ten
minutes does not use up twelve receives."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a message failed; `detail` names fields and rules, never values."""

    code: str
    detail: str
    permanent: bool = False
    store: bool = False
    """Whether the store as a whole failed, and not only for the items of this message."""
    first_delay: int = FIRST_DELAY
    """Maximum seconds before the second receive; doubled for each receive after it."""
    min_delay: int = 0
    """Minimum seconds before the next receive."""


def decide_disposition(
    failure: Failure, receives: int, max_receives: int, draw: Draw
) -> Disposition:
    """Decide whether a message is retried or dead-lettered.

    `receives` includes this delivery. At `max_receives` the queue's redrive policy would move the
    message without a reason, so the worker dead-letters it first, with the reason.
    """
    if failure.permanent or receives >= max_receives:
        return DeadLetter(failure.code, failure.detail)
    return Retry(max(delay(receives, draw, failure.first_delay), failure.min_delay))


def delay(receives: int, draw: Draw, first: int = FIRST_DELAY) -> int:
    """Return the seconds until the next receive: `first` doubled each receive, at most `MAX_DELAY`.

    Jitter takes off up to half. Jitter over the whole range, from zero, would let one message in
    fifty use up twelve receives within ten minutes.
    """
    return max(1, round(Backoff(first, MAX_DELAY, HALF, draw).delay(receives)))
