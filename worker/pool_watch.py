"""Notices a dead child of the prefork pool soon."""

from __future__ import annotations

from typing import Any

from celery.bootsteps import StartStopStep
from celery.worker import state
from kombu.asynchronous import Hub

INTERVAL = 0.25
"""Seconds between two looks."""


class PoolWatch(StartStopStep):
    """A step of Celery's worker that looks after the pool several times a second.

    The pool learns of a child's end from a pipe that closes, looks once and takes the pipe off
    the event loop. A killed child's pipe closes a moment before the child can be reaped, so that
    one look often comes too early, and the next one is Celery's own, up to five seconds later:
    so long would the child's batch wait, and its place stay empty.
    """

    requires = ("celery.worker.components:Pool",)

    def register_with_event_loop(self, worker: Any, hub: Hub) -> None:
        """Look from now on; pools without processes have nothing to look after."""
        hub.call_repeatedly(INTERVAL, _look, worker.pool)


def _look(pool: Any) -> None:
    # A cold shutdown has killed the children: new ones would only have to be waited for.
    if state.should_terminate in (None, False):
        pool.maintain_pool()
