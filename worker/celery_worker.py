"""Celery's worker program, with our signals and with start-up errors in one line."""

from __future__ import annotations

import signal
from typing import Any

from celery.apps.worker import Worker as CeleryProgram

from worker.cli_errors import exit_if_start_fails


class Worker(CeleryProgram):
    """Celery's worker program. SIGHUP stops it like SIGTERM, unless SIGHUP was ignored.

    Celery restarts itself on SIGHUP, with a command line that fails if it was started as a module,
    and only without a terminal. From a closing terminal or an init system SIGHUP means "stop"; with
    `nohup` it is ignored.
    """

    class Blueprint(CeleryProgram.Blueprint):
        """The steps of a start; the last one returns when the worker stops."""

        def start(self, parent: Any) -> None:
            """Start step by step; exit with one line if the machine lacks a resource."""
            with exit_if_start_fails(lambda: not parent.has_started):
                super().start(parent)

    has_started = False
    """Whether the worker consumes from its queues."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with exit_if_start_fails():
            super().__init__(*args, **kwargs)

    def on_consumer_ready(self, consumer: Any) -> None:
        """Record that the start is complete."""
        self.has_started = True
        super().on_consumer_ready(consumer)

    def install_platform_tweaks(self, worker: Any) -> None:
        """Install the signal handlers."""
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        super().install_platform_tweaks(worker)
        handler = signal.SIG_IGN if ignored else signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGHUP, handler)
