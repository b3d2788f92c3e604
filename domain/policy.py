"""Limits of the rules. Those that a deployment may choose are settings of the worker."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

MAX_TERMS_DOCUMENTS = 20
"""Documents whose acceptance is stored per user, so that the item stays small."""

TOTP_PERIOD = timedelta(seconds=30)
"""Duration of a step of a time-based one-time password (RFC 6238)."""
MAX_TOTP_STEPS_AHEAD = 10
"""Steps by which an authenticator's clock may be ahead: five minutes."""

MAX_LIVE_REFRESH_TOKENS = 4
"""Refresh tokens of one session that are valid at a time, each of another tab or request."""
MAX_SESSIONS = 50
"""Sessions of a user; starting another one ends the oldest."""

MAX_TIME_AHEAD: Final = timedelta(minutes=5)
"""How far `time` may be after the sending of its message; allows for clocks that differ."""
SESSION_COMMAND_AGE: Final = timedelta(hours=1)
"""Maximum age of a command about a login: later, the person has logged in again or given up."""
ACCESS_COMMAND_AGE: Final = timedelta(hours=24)
"""Maximum age of a command that restores access, or changes roles or the second factor: later, it
could undo a newer decision."""

_MOST_DOUBLINGS = 10  # beyond the longest lock already; keeps the product within timedelta


@dataclass(frozen=True, slots=True)
class UserPolicy:
    """Limits of the rules of a user."""

    failures_before_lock: int = 5
    """Consecutive login failures that lock a user."""
    first_lock: timedelta = timedelta(minutes=5)
    longest_lock: timedelta = timedelta(hours=1)
    failures_lifetime: timedelta = timedelta(hours=24)
    """Time after the last login failure after which the failures and locks no longer count."""
    session_lifetime: timedelta = timedelta(days=90)
    """Maximum time from the start of a session to its end."""
    session_idle_lifetime: timedelta = timedelta(days=30)
    """Maximum time from the last exchange of the refresh token to the end of its session."""
    refresh_leeway: timedelta = timedelta(seconds=10)
    """Time in which a refresh token that was just replaced is accepted again."""
    verification_lifetime: timedelta = timedelta(days=7)
    """Maximum lifetime of the token of a verification mail."""
    email_change_lifetime: timedelta = timedelta(hours=24)
    """Maximum lifetime of the token that confirms a new address."""
    reset_lifetime: timedelta = timedelta(hours=1)
    """Maximum lifetime of the token of a reset mail."""

    def session_end(self, started_at: datetime | None, now: datetime, wanted: datetime) -> datetime:
        """Return when a session ends that is used now, and that should end at `wanted`."""
        ends = [wanted, now + self.session_idle_lifetime]
        if started_at is not None:  # unknown for sessions of an earlier format
            ends.append(started_at + self.session_lifetime)
        return min(ends)

    def lock_duration(self, locks_before: int) -> timedelta:
        """Return the duration of the next lock: twice that of the previous one, up to a limit."""
        doubled = self.first_lock * (1 << min(locks_before, _MOST_DOUBLINGS))
        return min(doubled, self.longest_lock)


DEFAULT_POLICY: Final = UserPolicy()
