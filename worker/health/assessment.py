"""Combine the health of a worker's parts into one report."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

import structlog

from application.health_source import RUNNING_BATCH, HealthSource, LivenessCheck
from worker.health.report import Report

logger = structlog.get_logger(__name__)

LOOP_LIMIT: Final = 30.0
"""Maximum seconds between two turns of the event loop, which is asked for one every 5 s."""
START_LIMIT: Final = 120.0
"""Maximum seconds until its first turn: children start before it, on a machine that may be busy."""


class HealthAssessment:
    """Combine what the parts of one worker report; thread-safe.

    Args:
        blocks: whether a batch blocks the event loop, as it does with the solo pool.
    """

    def __init__(self, *, blocks: bool = False, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._blocks = blocks
        self._parts: list[Callable[[], HealthSource | None]] = []
        self._loop_at, self._loop_limit = clock(), START_LIMIT
        self._waiting: str | None = None
        self._starting = True
        self._stopping = False

    def watch(self, part: Callable[[], HealthSource | None]) -> None:
        """Include a part in later reports; `part` returns `None` while it does not exist."""
        self._parts.append(part)

    def beat(self) -> None:
        """Record that the event loop turns."""
        self._loop_at, self._loop_limit = self._clock(), LOOP_LIMIT

    def wait(self, reason: str) -> None:
        """Record that the start waits for something; `reason` is for an operator."""
        self._waiting = reason

    def go_on(self) -> None:
        """Record that the start no longer waits."""
        self._loop_at, self._waiting = self._clock(), None

    def ready(self) -> None:
        """Record that the start is complete."""
        self._starting = False

    def stop(self) -> None:
        """Record that the worker, and its event loop, is ending. Safe in a signal handler."""
        self._stopping = True

    def report(self) -> Report:
        """Return the report of all parts; a bug in the health check never fails liveness."""
        try:
            return self._judge()
        except Exception:
            logger.exception("health_unknown")
            return Report(not_ready=("unknown: see the worker's log",))

    def _judge(self) -> Report:
        parts = [part for each in self._parts if (part := each()) is not None]
        liveness_checks = [
            liveness_check for part in parts for liveness_check in part.liveness_checks()
        ]
        missing = [
            liveness_check
            for liveness_check in (*liveness_checks, *self._loop(liveness_checks))
            if liveness_check.missing
        ]
        readiness_issues = [
            *self._own_issues(),
            *(t for part in parts for t in part.readiness_issues()),
        ]
        return Report(tuple(map(str, missing)), tuple(dict.fromkeys(readiness_issues)))

    def _loop(self, liveness_checks: list[LivenessCheck]) -> list[LivenessCheck]:
        """Return the event loop's check, unless another check covers the same progress.

        That is the call that the start waits for, the end of the last batches, or the batch that
        blocks the loop: each of them has its own limit.
        """
        blocked = self._blocks and any(
            liveness_check.what == RUNNING_BATCH for liveness_check in liveness_checks
        )
        if self._waiting or self._stopping or blocked:
            return []
        age = self._clock() - self._loop_at
        return [LivenessCheck("the event loop has not run", age, self._loop_limit)]

    def _own_issues(self) -> list[str]:
        if self._stopping:
            return ["stopping"]
        if self._waiting:
            return [f"starting: {self._waiting}"]
        return ["starting"] if self._starting else []
