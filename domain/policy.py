"""Limits of the rules. Those that a deployment may choose are settings of the worker."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

MAX_USED_REFRESH_TOKENS = 20
"""Used token hashes stored per session, so that its item stays under 1 KB."""

MAX_TIME_AHEAD: Final = timedelta(minutes=5)
"""How far `time` may be after the sending of its message; allows for clocks that differ."""
SESSION_COMMAND_AGE: Final = timedelta(hours=1)
"""Maximum age of a command about a login: later, the person has logged in again or given up."""
ACCESS_COMMAND_AGE: Final = timedelta(hours=24)
"""Maximum age of a command that restores access or changes roles: later, it could undo a newer
decision."""

_MOST_DOUBLINGS = 10  # beyond the longest lock already; keeps the product within timedelta


@dataclass(frozen=True, slots=True)
class UserPolicy:
    """Limits of the rules of a user."""

    failures_before_lock: int = 5
    """Consecutive login failures that lock a user."""
    first_lock: timedelta = timedelta(minutes=5)
    longest_lock: timedelta = timedelta(hours=24)

    def lock_duration(self, locks_before: int) -> timedelta:
        """Return the duration of the next lock: twice that of the previous one, up to a limit."""
        doubled = self.first_lock * (1 << min(locks_before, _MOST_DOUBLINGS))
        return min(doubled, self.longest_lock)


DEFAULT_POLICY: Final = UserPolicy()
