"""The contestants, how each is started, and how much work each gets."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

HERE = Path(__file__).parent
CONTESTANTS = "benchmarks.contestants"
PREPARED = "{prepared}"
"""Placeholder in a command: the file with the prepared data for the floor or the ceiling."""
STOCK_FLAGS = ("--loglevel=INFO",)
MOST_AT_ONCE = 1_200
"""Maximum commands per second for this worker: on a few cores more children do not do more."""
OUR_FLAGS = (*STOCK_FLAGS, "--without-gossip", "--without-mingle", "--without-heartbeat")

Messages = Literal["cloud event", "celery"]
Table = Literal["users", "naive"]
Preparation = Literal["payloads", "bytes"]


@dataclass(frozen=True, slots=True)
class Contestant:
    """One program in one configuration."""

    key: str
    title: str
    commands: tuple[tuple[str, ...], ...]
    """Commands to start, one per process."""
    pace: int
    """Commands that it handles in about a second; it sets the size of workloads."""
    receivers: int
    """Total number of receives that wait when it is idle: then it is ready."""
    messages: Messages = "cloud event"
    table: Table = "users"
    preparation: Preparation | None = None
    tuned: bool = True
    """Whether kombu's SQS transport polls at the most efficient rate."""
    environment: tuple[tuple[str, str], ...] = ()
    """Variables for this contestant only."""


def worker_prefork(processes: int) -> Contestant:
    """Return this worker with this number of child processes."""
    return Contestant(
        key=f"worker-prefork-{processes}",
        title=f"this worker, prefork, {_count(processes)}",
        commands=(_celery("worker.app", "--pool=prefork", processes, OUR_FLAGS),),
        pace=min(600 * processes, MOST_AT_ONCE),
        receivers=1,
    )


def worker_solo() -> Contestant:
    """Return this worker with the solo pool: a batch at a time, in the only process."""
    return Contestant(
        key="worker-solo",
        title="this worker, solo, 1 process",
        commands=(_celery("worker.app", "--pool=solo", 1, OUR_FLAGS),),
        pace=300,
        receivers=1,
    )


def worker_threads(threads: int = 8) -> Contestant:
    """Return this worker with one process of this number of threads."""
    return Contestant(
        key=f"worker-threads-{threads}",
        title=f"this worker, {threads} threads, 1 process",
        commands=(_celery("worker.app", "--pool=threads", threads, OUR_FLAGS),),
        pace=800 if threads <= 8 else MOST_AT_ONCE,  # noqa: PLR2004 - measured
        receivers=1,
    )


def plain_celery(processes: int) -> Contestant:
    """Return plain Celery on kombu's SQS transport, with the settings that help it most."""
    application = f"{CONTESTANTS}.naive_celery"
    return Contestant(
        key=f"celery-{processes}",
        title=f"plain Celery on kombu's SQS, tuned, {_count(processes)}",
        commands=(_celery(application, "--pool=prefork", processes, STOCK_FLAGS),),
        pace=60 * processes,
        receivers=1,
        messages="celery",
        table="naive",
    )


def celery_threads(threads: int = 8) -> Contestant:
    """Return the plain Celery worker, tuned, with one process of this number of threads."""
    application = f"{CONTESTANTS}.naive_celery"
    return replace(
        plain_celery(1),
        key=f"celery-threads-{threads}",
        title=f"plain Celery on kombu's SQS, tuned, {threads} threads, 1 process",
        commands=(_celery(application, "--pool=threads", threads, STOCK_FLAGS),),
        pace=100,
    )


def stock_celery(processes: int) -> Contestant:
    """Return the plain Celery worker with kombu's and Celery's default settings.

    When it has as many messages as its prefetch allows, kombu polls again after a second.
    """
    return replace(
        plain_celery(processes),
        key=f"celery-stock-{processes}",
        title=f"plain Celery on kombu's SQS, stock, {_count(processes)}",
        pace=4 * processes,
        tuned=False,
    )


def one_at_a_time(processes: int) -> Contestant:
    """Return the boto3 loop with this worker's guarantees, one command at a time."""
    command = (sys.executable, "-m", f"{CONTESTANTS}.one_at_a_time")
    return Contestant(
        key=f"loop-{processes}",
        title=f"boto3 loop, same guarantees, one at a time, {_count(processes)}",
        commands=(command,) * processes,
        pace=50 * processes,
        receivers=processes,
    )


def floor(processes: int, threads: int = 2) -> Contestant:
    """Return the bare replay of this worker's calls."""
    command = (sys.executable, "-m", f"{CONTESTANTS}.floor", PREPARED, str(threads))
    return Contestant(
        key=f"floor-{processes}",
        title=f"floor: bare replay of the same calls, {_count(processes)} of {threads} threads",
        commands=(command,) * processes,
        pace=400 * processes,
        receivers=processes * threads,
        preparation="payloads",
    )


def ceiling(threads: int = 4) -> Contestant:
    """Return the emulators' own ceiling: the same requests as bytes, over bare sockets."""
    command = (sys.executable, "-m", f"{CONTESTANTS}.ceiling", PREPARED, str(threads))
    return Contestant(
        key="ceiling",
        title=f"emulators' ceiling: the same calls as ready bytes, {threads} sockets",
        commands=(command,),
        pace=800,
        receivers=threads,
        preparation="bytes",
    )


def node(processes: int) -> Contestant | None:
    """Return bbc/sqs-consumer, or None if Node or its packages are not installed."""
    program = HERE / "node" / "consumer.mjs"
    runtime = shutil.which("node")
    if runtime is None or not (program.parent / "node_modules").exists():
        return None
    return Contestant(
        key=f"node-{processes}",
        title=f"bbc/sqs-consumer on Node, {_count(processes)}",
        commands=((runtime, str(program)),) * processes,
        pace=200 * processes,
        receivers=processes,
        table="naive",
    )


def _celery(app: str, pool: str, concurrency: int, flags: tuple[str, ...]) -> tuple[str, ...]:
    return (
        *(sys.executable, "-m", "celery", "-A", app, "worker"),
        *(pool, f"--concurrency={concurrency}", *flags),
    )


def _count(processes: int) -> str:
    return f"{processes} process{'es' if processes > 1 else ''}"
