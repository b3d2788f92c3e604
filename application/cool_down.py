"""Remember the users whose items the store throttled: their commands are retried without a call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

SECONDS = 1.0
"""How long this process does not try a throttled user again.

Each command of a throttled user costs its batch a refused call, for which the commands of other
users wait. The shortest delay of a retry is as long, so no command is retried too early because of
its own failure.
"""
MAX_USERS = 10_000
"""Maximum number of users; beyond it, all are forgotten and tried again."""


class CoolDown:
    """Throttled users of the last `SECONDS`; thread-safe, one for all threads of a process."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Start without users; `monotonic` returns seconds that never decrease."""
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}

    def start(self, user_ids: Iterable[str | None]) -> None:
        """Start or restart the cool-down of users; `None` (an unknown user) is ignored."""
        now = self._monotonic()
        with self._lock:
            if len(self._until) >= MAX_USERS:
                self._until = {user: until for user, until in self._until.items() if until > now}
            if len(self._until) >= MAX_USERS:
                self._until.clear()
            self._until.update({user: now + SECONDS for user in user_ids if user is not None})

    def includes(self, user_id: str | None) -> bool:
        """Return True if the user was throttled within the last `SECONDS`."""
        if user_id is None or not self._until:
            return False
        with self._lock:
            until = self._until.get(user_id)
            if until is None or until > self._monotonic():
                return until is not None
            del self._until[user_id]
            return False
