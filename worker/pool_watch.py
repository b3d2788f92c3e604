"""Detect a dead child of the prefork pool quickly."""

from __future__ import annotations

from typing import Any

from celery.bootsteps import StartStopStep
from celery.worker import state
from kombu.asynchronous import Hub

INTERVAL = 0.25
"""Seconds between two checks."""


class PoolWatch(StartStopStep):
    """A step of Celery's worker that checks the pool several times a second.

    The pool learns of a child's end from a closed pipe, checks once and removes the pipe from the
    event loop. A killed child's pipe closes a moment before the child can be reaped, so that this
    check often comes too early. Celery's own next check is up to five seconds later; until then the
    child's batch would wait and its place stay empty.
    """

    requires = ("celery.worker.components:Pool",)

    def register_with_event_loop(self, worker: Any, hub: Hub) -> None:
        """Check from now on; pools without processes need no check."""
        hub.call_repeatedly(INTERVAL, _look, worker.pool)


def _look(pool: Any) -> None:
    # After a cold shutdown has killed the children, new ones would only delay the exit.
    if state.should_terminate in (None, False):
        pool.maintain_pool()
