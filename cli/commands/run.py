"""`user-worker run`: run Celery's own worker in this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli import output
from cli.commands.base import RUN, Pool, app

if TYPE_CHECKING:
    from worker.settings import Settings

THREADS = 8
"""Parallel batches with threads, which wait for AWS most of the time."""


@app.command(
    epilog="[bold]Exit codes:[/bold] those of Celery; 2 or 3 if the worker cannot start.",
    rich_help_panel=RUN,
)
def run(
    celery_args: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- CELERY ARGS", help="Passed to the worker of Celery."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency", "-c", min=1, metavar="N", help="Number of concurrent batches."
        ),
    ] = None,
    pool: Annotated[
        Pool | None,
        typer.Option(
            "--pool",
            "-P",
            help="Celery pool (default: prefork; threads with the memory repository).",
        ),
    ] = None,
) -> int:
    """Run a worker: `celery -A worker.app worker` with defaults.

    \b
    [bold]Examples[/bold]
      user-worker run
      user-worker run --concurrency 4 -- --max-tasks-per-child 1000
    """
    from worker.settings import load_settings

    arguments = celery_arguments(load_settings(), pool, concurrency, celery_args or [])
    output.stderr().print(f"celery {' '.join(arguments)}", style="dim")
    os.execv(sys.executable, [sys.executable, "-m", "celery", *arguments])  # noqa: S606 - our own


def celery_arguments(
    settings: Settings, pool: str | None, concurrency: int | None, more: Sequence[str] = ()
) -> list[str]:
    """Return the arguments of `celery`.

    Raises:
        UsageError: users are kept in memory, and the pool has several processes.
    """
    from worker.errors import memory_needs_one_process

    if settings.repository == "memory":
        if pool == "prefork":
            raise memory_needs_one_process()
        if pool is None:
            output.stderr().print("the repository is in memory: using threads", style="dim")
    pool = pool or ("threads" if settings.repository == "memory" else "prefork")
    if concurrency is None and pool == "threads":
        concurrency = THREADS
    arguments = ["-A", "worker.app", "worker", f"--pool={pool}"]
    if concurrency is not None:
        arguments.append(f"--concurrency={concurrency}")
    arguments.append(f"--loglevel={settings.log_level}")
    # this transport does not support these features
    return [*arguments, "--without-gossip", "--without-mingle", "--without-heartbeat", *more]
