"""The pool is checked while batches run, and an idle worker's event loop is left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from celery.worker import state

from worker.pool_watch import CHECKS_AFTER_WORK, INTERVAL, PoolChecks


@dataclass
class Timer:
    """A repeated call of the fake hub."""

    seconds: float
    call: Callable[[], None]
    canceled: bool = False

    def cancel(self) -> None:
        """See kombu's timer."""
        self.canceled = True


@dataclass
class World:
    """A pool that counts its checks, and a hub whose time a test advances."""

    checks: int = 0
    timers: list[Timer] = field(default_factory=list)

    def maintain_pool(self) -> None:
        """See Celery's pool."""
        self.checks += 1

    def call_repeatedly(self, seconds: float, call: Callable[[], None]) -> Timer:
        """See kombu's hub."""
        self.timers.append(Timer(seconds, call))
        return self.timers[-1]

    def turn(self, times: int = 1) -> None:
        """Advance the clock by the interval, `times` times."""
        for _ in range(times):
            for timer in self.timers:
                if not timer.canceled:
                    timer.call()


class Request:
    """A batch that runs."""


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> set[Any]:
    """Return the set of requests that Celery considers unfinished."""
    requests: set[Any] = set()
    monkeypatch.setattr(state, "reserved_requests", requests)
    return requests


def test_nothing_is_checked_before_the_first_batch(running: set[Any]) -> None:
    """An idle worker's loop sleeps until Celery's own check."""
    world = World()
    PoolChecks(world, world)  # type: ignore[arg-type]  # stands for pool and hub
    assert not running
    assert world.timers == []


def test_the_pool_is_checked_while_a_batch_runs_and_a_little_longer(running: set[Any]) -> None:
    """Four times a second however long it takes, and for two seconds afterwards."""
    world = World()
    checks = PoolChecks(world, world)  # type: ignore[arg-type]  # as above
    request = Request()
    running.add(request)
    checks.begin(sender=None, request=request)
    checks.begin(sender=None, request=request)
    assert [timer.seconds for timer in world.timers] == [INTERVAL]
    world.turn(100)
    assert world.checks == 100
    running.clear()
    world.turn(100)
    assert world.checks == 100 + CHECKS_AFTER_WORK
    assert world.timers[0].canceled


def test_checks_begin_again_with_the_next_batch(running: set[Any]) -> None:
    """Also if it arrives just before they would have ended."""
    world = World()
    checks = PoolChecks(world, world)  # type: ignore[arg-type]  # as above
    checks.begin()
    world.turn(CHECKS_AFTER_WORK - 1)
    checks.begin()
    world.turn(CHECKS_AFTER_WORK)
    assert len(world.timers) == 1
    assert world.timers[0].canceled
    running.add(Request())
    checks.begin()
    assert len(world.timers) == 2
    world.turn(50)
    assert world.checks == 2 * CHECKS_AFTER_WORK - 1 + 50


def test_after_a_cold_shutdown_no_child_is_started(
    running: set[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checks go on without effect."""
    world = World()
    running.add(Request())
    PoolChecks(world, world).begin()  # type: ignore[arg-type]  # as above
    monkeypatch.setattr(state, "should_terminate", True)
    world.turn(3)
    assert world.checks == 0
