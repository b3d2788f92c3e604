"""`user-worker run`: Celery's own worker, in this very process."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cli import output
from worker.errors import memory_needs_one_process
from worker.settings import Settings, load_settings

THREADS = 8
"""Batches at a time with threads: they wait for AWS most of the time."""


def run_worker(pool: str | None, concurrency: int | None, celery_args: Sequence[str]) -> int:
    """Become `celery worker`; returns only if it could not."""
    settings = load_settings()
    arguments = celery_arguments(settings, pool, concurrency, celery_args)
    output.stderr().print(f"celery {' '.join(arguments)}", style="dim")
    os.execv(sys.executable, [sys.executable, "-m", "celery", *arguments])  # noqa: S606 - our own


def celery_arguments(
    settings: Settings, pool: str | None, concurrency: int | None, more: Sequence[str] = ()
) -> list[str]:
    """Give what follows `celery`.

    Raises:
        UsageError: users in memory, and more than one process.
    """
    if settings.repository == "memory":
        if pool == "prefork":
            raise memory_needs_one_process()
        if pool is None:
            output.stderr().print("users are kept in memory: using threads", style="dim")
    pool = pool or ("threads" if settings.repository == "memory" else "prefork")
    if concurrency is None and pool == "threads":
        concurrency = THREADS
    arguments = ["-A", "worker.app", "worker", f"--pool={pool}"]
    if concurrency is not None:
        arguments.append(f"--concurrency={concurrency}")
    arguments.append(f"--loglevel={settings.log_level}")
    # nothing of these runs over this transport
    return [*arguments, "--without-gossip", "--without-mingle", "--without-heartbeat", *more]
