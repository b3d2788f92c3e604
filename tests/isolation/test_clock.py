"""A worker whose clock differs from AWS's is not ready, and reports the difference."""

from __future__ import annotations

from functools import partial
from uuid import uuid4

import pytest

from operations.free_port import free_port
from tests.builders import register
from tests.e2e.proxy import Dated, FaultyProxy
from tests.e2e.system import System, log_lines, message
from tests.e2e.worker_process import eventually
from tests.isolation.health import ask

pytestmark = [pytest.mark.timeout(120)]


def _answers(system: System, port: int) -> tuple[int, list[str]]:
    """Send a command, which ends a poll with the former date, and probe the readiness."""
    system.send(message(register(uuid4().hex), str(uuid4())))
    return ask(port)


def _is_told(system: System, port: int, says: str) -> bool:
    return says in str(_answers(system, port)[1])


def test_a_clock_that_differs_from_the_date_of_answers_makes_the_worker_unready(
    aws_endpoint: str, system: System
) -> None:
    """It continues to work; without a Date, or with a small difference, it is ready."""
    port = free_port()
    with (
        FaultyProxy(aws_endpoint) as proxy,
        system.worker(endpoint=proxy.url, HEALTH_PORT=str(port)) as running,
    ):
        running.ready()
        eventually(lambda: ask(port) == (200, []), 40, "readiness")
        for off, says in ((-47, "s ahead of AWS's"), (90, "s behind AWS's")):
            skewed = proxy.inject(Dated(off), "ReceiveMessage")
            eventually(partial(_is_told, system, port, says), 40, "the difference")
            system.do(message(register(uuid4().hex), str(uuid4())))
            assert ask(port, "/live") == (200, [])
            proxy.withdraw(skewed)
            right = proxy.inject(Dated(10), "ReceiveMessage")
            eventually(lambda: _answers(system, port) == (200, []), 40, "readiness again")
            proxy.withdraw(right)
        began, ended = log_lines(running, "clock_differs"), log_lines(running, "clock_agrees")
        assert [(round(line["seconds"] / 10)) for line in began] == [5, -9]
        assert len(ended) == 2
