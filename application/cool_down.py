"""Users whose items the store throttled a moment ago: their commands are retried without a call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

SECONDS = 2.0
"""How long a user is not tried again by this process: as long as the first delay of a retry.

Each command of a throttled user costs the batch that it is in a refused call, and the commands of
other users wait for it. With 5 % of 80 commands a second for one user, one batch in eight meets a
throttled user within this time, and every second one without it.
"""
MAX_USERS = 10_000
"""Users remembered; beyond it, all are forgotten, and tried again."""


class CoolDown:
    """Remembers throttled users for a short time; all threads of a process share one."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Create it empty; `monotonic` returns seconds that never go back."""
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}

    def start(self, user_ids: Iterable[str | None]) -> None:
        """Start the cool-down of users, or start it again; `None` is an unknown user."""
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
