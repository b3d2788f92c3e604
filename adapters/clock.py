"""The system clock, and its difference from AWS's clock."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from application.ports import Clock


class SystemClock(Clock):
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the time in UTC, in whole milliseconds, so that a stored time reads back equal."""
        now = datetime.now(UTC)
        return now.replace(microsecond=now.microsecond // 1000 * 1000)


def clock_difference(answer: Any, began: float, ended: float) -> float | None:
    """Return by how many seconds this machine's clock is ahead of AWS's; negative if behind.

    AWS writes its answer, with the Date header, during the call. So a Date between the beginning
    and the end of the call counts as no difference, however long the call took.

    Args:
        answer: what a boto3 client returned, or the `response` of its ClientError.
        began: when the call began, in seconds since the epoch by this machine's clock.
        ended: when it ended.

    Returns:
        `None` if there is no Date, or if a cache answered with the Date of another answer.
    """
    try:
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        if "age" in headers:
            return None
        theirs = parsedate_to_datetime(headers["date"]).timestamp()
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, OSError):
        return None
    if began - 1 < theirs <= ended:  # the header has whole seconds
        return 0.0
    return ended - theirs
