"""Celery's worker, with the signals and the errors at start that an operator expects."""

from __future__ import annotations

import signal
from typing import Any

from celery.apps.worker import Worker as CeleryProgram

from worker.startup import one_line_for_the_start


class Worker(CeleryProgram):
    """Celery's worker as a program. SIGHUP stops it as SIGTERM does, unless it was ignored.

    Celery restarts itself on SIGHUP, by a command line that no longer works once it runs as a
    module, and only when it has no terminal. A terminal that is closed, or an init system that
    sends SIGHUP, means "stop"; `nohup` means "go on".
    """

    class Blueprint(CeleryProgram.Blueprint):
        """The steps of a start; the last one returns when the worker stops."""

        def start(self, parent: Any) -> None:
            """Start step by step; what the machine lacks ends the program with one line."""
            with one_line_for_the_start(lambda: not parent.has_started):
                super().start(parent)

    has_started = False
    """Whether it consumes from its queues."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with one_line_for_the_start():
            super().__init__(*args, **kwargs)

    def on_consumer_ready(self, consumer: Any) -> None:
        """Note that the start is done."""
        self.has_started = True
        super().on_consumer_ready(consumer)

    def install_platform_tweaks(self, worker: Any) -> None:
        """Install the signal handlers."""
        hangup = getattr(signal, "SIGHUP", None)
        ignored = hangup is not None and signal.getsignal(hangup) is signal.SIG_IGN
        super().install_platform_tweaks(worker)
        if hangup is not None:
            signal.signal(hangup, signal.SIG_IGN if ignored else signal.getsignal(signal.SIGTERM))
