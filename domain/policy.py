"""The numbers of the session and lock rules, and what follows from them."""

from __future__ import annotations

from datetime import timedelta

MAX_USED_REFRESH_TOKENS = 20
"""Used token hashes kept a session, so that its item stays under 1 KB."""

FAILURES_BEFORE_LOCK = 5
"""Wrong passwords in a row that lock a user."""

FIRST_LOCK = timedelta(minutes=5)
LONGEST_LOCK = timedelta(hours=24)

_MOST_DOUBLINGS = 10  # beyond the longest lock already; keeps the product within timedelta


def lock_duration(locks_before: int) -> timedelta:
    """Say how long the next lock lasts: twice as long as the one before, up to a day."""
    return min(FIRST_LOCK * (1 << min(locks_before, _MOST_DOUBLINGS)), LONGEST_LOCK)
