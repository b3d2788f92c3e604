"""Health reports of real workers while they wait, are stopped, are cut off, or hang."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from operations.free_port import free_port
from tests.builders import register
from tests.e2e.health_limits import LOOP_LIMIT
from tests.e2e.proxy import FaultyProxy, Slow, Unavailable
from tests.e2e.system import THREADS, System, decided, log_lines, message
from tests.e2e.worker_process import WorkerProcess, eventually, freeze, worker
from worker.health import heartbeat
from worker.health.heartbeat import Heartbeat, heartbeats
from worker.health.report import Report

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]

SOLO = ("-P", "solo")
ONE_CHILD = ("-P", "prefork", "-c", "1")
Look = Callable[[], Heartbeat]


@pytest.fixture
def heard(tmp_path: Path) -> Look:
    """Return a function that reads the last heartbeat of this test's only worker."""
    folder = tmp_path / f"user-worker-{os.getuid()}"

    def look() -> Heartbeat:
        [beat] = eventually(lambda: heartbeats(folder), 40, "a heartbeat")
        return beat

    return look


@contextmanager
def hasty(
    system: System, folder: Path, options: tuple[str, ...], endpoint: str
) -> Iterator[WorkerProcess]:
    """Run a worker with health limits of a few seconds; wait until it is ready."""
    settings = {"TABLE": system.names.table, "EVENTS_TOPIC": system.names.events_topic}
    environment = {f"USER_WORKER_{name}": value for name, value in settings.items()}
    with worker(
        system.names,
        endpoint,
        folder,
        options,
        app="tests.e2e.health_app",
        USER_WORKER_ENV="test",
        TMPDIR=str(folder),
        **environment,
    ) as running:
        yield running.ready()


def ask(port: int, path: str) -> tuple[int, list[str]]:
    """Probe over HTTP; return status and reasons."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, json.load(answer)["reasons"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["reasons"]


def test_an_outage_of_the_table_makes_it_unready_and_never_dead(
    aws_endpoint: str,
    system: System,
    tmp_path: Path,
    heard: Look,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before the start the worker waits and then starts by itself; later it idles."""
    port = free_port()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    settings = {"HEALTH_PORT": str(port), "RELAY_INTERVAL": "0.2", "RELAY_AGE": "0"}
    with FaultyProxy(aws_endpoint) as proxy:
        proxy.inject(Unavailable(), "DescribeTable")
        with system.worker(THREADS, endpoint=proxy.url, **settings) as running:
            eventually(lambda: log_lines(running, "waiting_for_aws"), 40, "the wait")
            assert ask(port, "/live") == (200, [])
            status, [reason] = ask(port, "/ready")
            assert (status, reason.partition(":")[0]) == (503, "starting")
            assert log_lines(running, "worker_ready") == []
            proxy.clear()
            eventually(lambda: ask(port, "/ready") == (200, []), 40, "readiness")
            proxy.inject(Unavailable(), "Query")
            away = ["the outbox cannot be read: the store is unavailable"]
            eventually(lambda: ask(port, "/ready") == (503, away), 40, "the outage")
            assert ask(port, "/live") == (200, [])
            eventually(lambda: heard().health == Report((), tuple(away)), 40, "the file")
            proxy.clear()
            eventually(lambda: ask(port, "/ready") == (200, []), 40, "the end of the outage")
            assert running.stop() == 0
    assert heartbeats(tmp_path / f"user-worker-{os.getuid()}") == []


def test_a_worker_that_waits_for_aws_hears_sigterm(aws_endpoint: str, system: System) -> None:
    """At this time Celery does not handle signals yet; a deployment must not have to kill it."""
    with FaultyProxy(aws_endpoint) as proxy:
        proxy.inject(Unavailable(), "GetQueueUrl")
        with system.worker(endpoint=proxy.url) as running:
            eventually(lambda: log_lines(running, "waiting_for_aws"), 40, "the wait")
            assert running.stop() == 0


def test_a_process_that_stands_still_or_a_child_that_hangs_does_not_live(
    aws_endpoint: str, system: System, tmp_path: Path, heard: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent cannot send a heartbeat, or a batch never ends.

    Both recover when they continue.
    """
    monkeypatch.setattr(heartbeat, "LIMIT", 2.0)
    with hasty(system, tmp_path, ONE_CHILD, aws_endpoint) as running:
        eventually(lambda: heard().health.ready, 40, "readiness")
        freeze(running.process.pid)
        eventually(lambda: not heard().health.live, 40, "the missing heartbeat")
        assert "no heartbeat" in heard().health.not_live[0]
        running.send_signal(signal.SIGCONT)
        eventually(lambda: heard().health.live, 40, "a heartbeat again")
        [child] = children(running.process.pid)
        freeze(child)
        system.send(message(register(uuid4().hex), str(uuid4())))
        eventually(lambda: not heard().health.live, 40, "the batch that does not end")
        assert "a batch has been running" in heard().health.not_live[0]
        os.kill(child, signal.SIGCONT)
        eventually(lambda: heard().health.live, 40, "the end of the batch")


def test_a_long_batch_that_blocks_the_loop_is_life(
    aws_endpoint: str, system: System, tmp_path: Path, heard: Look
) -> None:
    """The loop of the solo pool is blocked while a batch runs."""
    reports = []
    with (
        FaultyProxy(aws_endpoint) as proxy,
        hasty(system, tmp_path, SOLO, proxy.url) as running,
    ):
        eventually(lambda: heard().health.ready, 40, "readiness")
        slow = proxy.inject(Slow(3.5), "TransactWriteItems", times=1)
        system.send(message(register(uuid4().hex), str(uuid4())))
        eventually(lambda: slow.hits, 40, "the commit")
        began = time.monotonic()
        while not decided(running):
            reports.append(heard().health)
            assert time.monotonic() - began < 40
        # longer than the loop may be blocked without a reason
        assert time.monotonic() - began > LOOP_LIMIT
        eventually(lambda: heard().health.ready, 40, "readiness after it")
    assert {report.not_live for report in reports} == {()}


def children(pid: int) -> list[int]:
    """Return the ids of a process's children."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
