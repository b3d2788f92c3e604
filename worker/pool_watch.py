"""Detect a dead child of the prefork pool quickly."""

from __future__ import annotations

from typing import Any

from celery.bootsteps import StartStopStep
from celery.signals import task_received
from celery.worker import state
from kombu.asynchronous import Hub

INTERVAL = 0.25
"""Seconds between two checks."""
CHECKS_AFTER_WORK = 8
"""Checks after the last batch: a child may have ended with it, and the next batch needs its place.
"""


class PoolWatch(StartStopStep):
    """A step of Celery's worker that checks the pool several times a second while batches run.

    The pool learns of a child's end from a closed pipe, checks once and removes the pipe from the
    event loop. A killed child's pipe closes a moment before the child can be reaped, so that this
    check often comes too early. Celery's own next check is up to five seconds later; until then the
    child's batch would wait and its place stay empty. For an idle worker, that check is enough.
    """

    requires = ("celery.worker.components:Pool",)

    def register_with_event_loop(self, worker: Any, hub: Hub) -> None:
        """Check from each batch on until the worker is idle; pools without processes need none."""
        checks = PoolChecks(worker.pool, hub)
        task_received.connect(checks.begin, weak=False, dispatch_uid="pool_watch")


class PoolChecks:
    """The repeated checks of a pool. Used on the main thread."""

    def __init__(self, pool: Any, hub: Hub) -> None:
        self._pool = pool
        self._hub: Any = hub
        self._timer: Any = None
        self._left = CHECKS_AFTER_WORK

    def begin(self, **_: Any) -> None:
        """Check from now on, until some seconds after the last batch."""
        self._left = CHECKS_AFTER_WORK
        if self._timer is None:
            self._timer = self._hub.call_repeatedly(INTERVAL, self._look)

    def _look(self) -> None:
        self._left = CHECKS_AFTER_WORK if state.reserved_requests else self._left - 1
        if self._left <= 0:
            self._timer.cancel()
            self._timer = None
        # After a cold shutdown has killed the children, new ones would only delay the exit.
        if state.should_terminate in (None, False):
            self._pool.maintain_pool()
