"""Work that does not progress: a stopped child, and a log pipe without a reader."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from pathlib import Path
from uuid import uuid4

import pytest

from operations.free_port import free_port
from tests.builders import register
from tests.e2e.system import PREFORK, System, message
from tests.e2e.worker_process import FORKED, ROOT, eventually, freeze, start_celery, worker
from tests.isolation.health import ask

pytestmark = [pytest.mark.timeout(150)]

POOLS = {
    "threads": ("-P", "threads", "-c", "2"),
    "prefork": ("-P", "prefork", "-c", "1"),
    "solo": ("-P", "solo"),
}
PIPE_HOLDS = 16 * 1024
"""Bytes; the default of Linux is four times as much, which takes four times as many commands."""
MORE_THAN_A_PIPE_HOLDS = 100
"""Commands; each is a log line of about 400 bytes."""


def _environment(system: System, port: int) -> dict[str, str]:
    return {
        "USER_WORKER_ENV": "test",
        "USER_WORKER_TABLE": system.names.table,
        "USER_WORKER_EVENTS_TOPIC": system.names.events_topic,
        "USER_WORKER_HEALTH_PORT": str(port),
    }


def test_one_stopped_child_of_two_makes_the_worker_unready_while_the_other_works(
    aws_endpoint: str, system: System, tmp_path: Path
) -> None:
    """Its batch exceeds the limit, which is 3 s here."""
    port = free_port()
    with worker(
        system.names,
        aws_endpoint,
        tmp_path,
        PREFORK,
        app="tests.e2e.health_app",
        TMPDIR=str(tmp_path),
        **_environment(system, port),
    ) as running:
        running.ready()
        eventually(lambda: ask(port) == (200, []), 40, "readiness")
        pid = running.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        stopped = int(children[0])
        freeze(stopped)

        def unready() -> bool:
            system.send(message(register(uuid4().hex), str(uuid4())))
            return "running for" in str(ask(port)[1])

        eventually(unready, 40, "the stopped child's batch")
        os.kill(stopped, signal.SIGCONT)
        eventually(lambda: ask(port) == (200, []), 40, "readiness again")
        eventually(system.queues.empty, 40, "an empty queue")


@pytest.mark.parametrize("pool", POOLS)
def test_an_unread_log_pipe_does_not_stop_the_worker(system: System, pool: str) -> None:
    """All commands are processed, the lost lines are counted, and SIGTERM ends the worker."""
    port = free_port()
    settings = {
        "AWS_ENDPOINT_URL": system.endpoint,
        "PYTHONPATH": str(ROOT),
        "USER_WORKER_CREATE_RESOURCES": "false",
        "USER_WORKER_COMMAND_QUEUE": system.names.command_queue,
        "USER_WORKER_DEAD_LETTER_QUEUE": system.names.dead_letter_queue,
        "USER_WORKER_QUARANTINE_QUEUE": system.names.quarantine_queue,
        **_environment(system, port),
    }
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_HOLDS)
    with os.fdopen(writer, "wb") as log:
        arguments = ["-A", "tests.e2e.impatient_app", "worker", "-l", "INFO", *POOLS[pool]]
        process = start_celery(arguments, os.environ | settings, log, FORKED)
    try:
        eventually(lambda: _is_ready(port), 60, "readiness")
        sent = [message(register(uuid4().hex), str(uuid4())) for _ in range(MORE_THAN_A_PIPE_HOLDS)]
        system.send(*sent)
        system.outcomes(sent, 60)
        eventually(system.queues.empty, 30, "an empty queue")
        assert ask(port, "/live") == (200, [])
        os.set_blocking(reader, False)
        held = _read(reader)
        assert len(held) > PIPE_HOLDS / 2
        system.do(*[message(register(uuid4().hex), str(uuid4())) for _ in range(20)])
        eventually(lambda: b"log_lines_dropped" in _read(reader, held), 30, "the report")
        _fill_again(system)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        os.close(reader)


def _is_ready(port: int) -> bool:
    try:
        return ask(port) == (200, [])
    except OSError:
        return False


def _read(reader: int, so_far: bytearray | None = None) -> bytearray:
    found = bytearray() if so_far is None else so_far
    while True:
        try:
            part = os.read(reader, 65_536)
        except BlockingIOError:
            return found
        if not part:
            return found
        found += part


def _fill_again(system: System) -> None:
    """Fill the pipe again, so that the end is logged to a full pipe."""
    sent = [message(register(uuid4().hex), str(uuid4())) for _ in range(MORE_THAN_A_PIPE_HOLDS)]
    system.send(*sent)
    system.outcomes(sent, 60)
    time.sleep(0.1)
