"""SIGHUP ends a worker like SIGTERM, however it was started; under nohup it is ignored."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from tests.builders import register
from tests.e2e.proxy import FaultyProxy, Slow, Unavailable
from tests.e2e.system import PREFORK, THREADS, Message, System, log_lines, message
from tests.e2e.worker_process import ROOT, WorkerProcess, eventually

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]

SOLO = ("-P", "solo")


def _users(count: int) -> list[Message]:
    return [message(register(f"u-{uuid4().hex}"), str(uuid4())) for _ in range(count)]


@pytest.mark.parametrize("options", [PREFORK, THREADS, SOLO], ids=["prefork", "threads", "solo"])
def test_a_hangup_of_the_whole_group_lets_the_batch_in_hand_end(
    aws_endpoint: str, system: System, options: Sequence[str]
) -> None:
    """When a terminal closes, parent and children get the signal. No message is left over."""
    with (
        FaultyProxy(aws_endpoint) as proxy,
        system.worker(options, endpoint=proxy.url) as running,
    ):
        running.ready()
        slow = proxy.inject(Slow(1.5), "TransactWriteItems")
        sent = _users(5)
        system.send(*sent)
        eventually(lambda: slow.hits, 40, "the commit")
        assert running.stop(signal.SIGHUP, group=True) == 0
        assert "Traceback" not in running.log
        assert log_lines(running, "command")
    proxy.clear()
    done = {line["command_id"] for line in log_lines(running, "command")}
    found = system.load(outcomes={each.key for each in sent}).outcomes
    assert {key.command_id for key in found} == done
    # Messages that had not started were released, and those that were done are deleted.
    eventually(lambda: system.queues.depth() == (len(sent) - len(done), 0), 10, "the queue")


def test_a_worker_that_waits_for_aws_hears_sighup(aws_endpoint: str, system: System) -> None:
    """At this time Celery does not handle signals yet."""
    with FaultyProxy(aws_endpoint) as proxy:
        proxy.inject(Unavailable(), "GetQueueUrl")
        with system.worker(endpoint=proxy.url) as running:
            eventually(lambda: log_lines(running, "waiting_for_aws"), 40, "the wait")
            assert running.stop(signal.SIGHUP) == 0


@contextmanager
def _started(
    system: System, command: Sequence[str], *, ignoring_sighup: bool = False
) -> Iterator[WorkerProcess]:
    """Start a worker by its own command line; kill what is left of it after the block."""
    names = system.names
    environment = {
        "AWS_ENDPOINT_URL": system.endpoint,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "USER_WORKER_ENV": "test",
        "USER_WORKER_CREATE_RESOURCES": "false",
        "USER_WORKER_TABLE": names.table,
        "USER_WORKER_EVENTS_TOPIC": names.events_topic,
        "USER_WORKER_COMMAND_QUEUE": names.command_queue,
        "USER_WORKER_DEAD_LETTER_QUEUE": names.dead_letter_queue,
        "USER_WORKER_QUARANTINE_QUEUE": names.quarantine_queue,
    }
    log = system.folder / f"log-{uuid4().hex}"
    before = [*(["nohup"] if ignoring_sighup else []), sys.executable, "-m"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*before, *command],
            env=os.environ | environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield WorkerProcess(process, Path(os.devnull), log)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


RUN = ("cli", "run", "--pool", "threads")
CELERY = ("celery", "-A", "worker.app", "worker", "-P", "prefork", "-c", "1")


@pytest.mark.parametrize("command", [RUN, CELERY], ids=["run", "celery"])
def test_a_hangup_ends_a_worker_that_a_user_has_started(
    system: System, command: Sequence[str]
) -> None:
    """The signal goes to the parent only; the exit code is that of SIGTERM."""
    with _started(system, command) as running:
        running.ready()
        system.do(*_users(3))
        assert running.stop(signal.SIGHUP) == 0
        assert "Traceback" not in running.log
    eventually(system.queues.empty, 10, "an empty queue")


def test_a_worker_under_nohup_ignores_a_hangup(system: System) -> None:
    """The worker continues to work; SIGTERM ends it."""
    with _started(system, CELERY, ignoring_sighup=True) as running:
        running.ready()
        running.send_signal(signal.SIGHUP, group=True)
        assert len(system.do(*_users(3))) == 3
        assert running.process.poll() is None
        assert running.stop(signal.SIGTERM) == 0
