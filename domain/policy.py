"""Limits of the rules for sessions and locks."""

from __future__ import annotations

from datetime import timedelta

MAX_USED_REFRESH_TOKENS = 20
"""Used token hashes stored per session, so that its item stays under 1 KB."""

FAILURES_BEFORE_LOCK = 5
"""Consecutive wrong passwords that lock a user."""

FIRST_LOCK = timedelta(minutes=5)
LONGEST_LOCK = timedelta(hours=24)

_MOST_DOUBLINGS = 10  # beyond the longest lock already; keeps the product within timedelta


def lock_duration(locks_before: int) -> timedelta:
    """Return the duration of the next lock: twice that of the previous one, up to a day."""
    return min(FIRST_LOCK * (1 << min(locks_before, _MOST_DOUBLINGS)), LONGEST_LOCK)
