"""Remember the users whose items the store throttled: their commands are retried without a call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

SECONDS = 1.0
"""How long this process does not try a throttled user again, after the first throttled call.

Each try costs the batch a refused call, for which the commands of other users wait.
"""
MAX_SECONDS = 30.0
"""Maximum of the time that doubles with each further throttled call.

DynamoDB may throttle a partition for minutes. When the throttling ends, the user's commands
wait this long at most, in addition to their own delay.
"""
MAX_USERS = 10_000
"""Maximum number of users; beyond it, all are forgotten and tried again."""


@dataclass(frozen=True, slots=True)
class _Period:
    start: float
    seconds: float

    @property
    def end(self) -> float:
        return self.start + self.seconds

    @property
    def remembered_until(self) -> float:
        """Return the time until which a further throttled call doubles the cool-down."""
        return self.end + self.seconds


class CoolDown:
    """Users that were throttled lately; thread-safe, one for all threads of a process."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Start without users; `monotonic` returns seconds that never decrease."""
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._periods: dict[str, _Period] = {}

    def start(self, user_ids: Iterable[str | None]) -> None:
        """Start the cool-down of users; `None` (an unknown user) is ignored.

        A user who was throttled again after the end of a cool-down gets one of twice the length.
        A second thread that met the same throttling during the cool-down does not prolong it.
        """
        now = self._monotonic()
        with self._lock:
            if len(self._periods) >= MAX_USERS:
                self._periods = {
                    user: period
                    for user, period in self._periods.items()
                    if period.remembered_until > now
                }
            if len(self._periods) >= MAX_USERS:
                self._periods.clear()
            for user in filter(None, user_ids):
                self._periods[user] = self._next(self._periods.get(user), now)

    @staticmethod
    def _next(last: _Period | None, now: float) -> _Period:
        if last is None or last.remembered_until <= now:
            return _Period(now, SECONDS)
        return last if now < last.end else _Period(now, min(2 * last.seconds, MAX_SECONDS))

    def remaining(self, user_id: str | None) -> float:
        """Return the seconds until the end of the user's cool-down; 0 if there is no cool-down."""
        if user_id is None or not self._periods:
            return 0
        with self._lock:
            period = self._periods.get(user_id)
            if period is None:
                return 0
            now = self._monotonic()
            if period.remembered_until <= now:
                del self._periods[user_id]
            return max(period.end - now, 0)
