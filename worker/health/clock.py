"""Compare this machine's clock with AWS's, by the Date of each answer of SQS.

With a wrong clock commands expire too early and outbox entries get wrong ages; from five minutes
on, AWS rejects the signatures.
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock
from typing import Final

import structlog

from application.health_source import HealthSource, LivenessCheck

logger = structlog.get_logger(__name__)

LIMIT: Final = 30.0
"""Seconds of difference from which the worker is not ready."""
CONFIRMATIONS: Final = 2
"""Consecutive answers that must agree before the difference is reported."""


class ClockWatch(HealthSource):
    """Compare this machine's clock with AWS's; thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._differing = 0
        self._issue: str | None = None

    def observe(self, seconds: float) -> None:
        """Record by how many seconds this clock was ahead of an answer's Date."""
        with self._lock:
            if abs(seconds) <= LIMIT:
                self._differing = 0
                if self._issue is not None:
                    self._issue = None
                    logger.warning("clock_agrees", seconds=round(seconds, 1))
                return
            self._differing += 1
            if self._differing < CONFIRMATIONS:
                return
            if self._issue is None:
                logger.error("clock_differs", seconds=round(seconds, 1))
            where = "ahead of" if seconds > 0 else "behind"
            self._issue = f"the clock is {abs(seconds):.0f} s {where} AWS's"

    def liveness_checks(self) -> Iterator[LivenessCheck]:
        """Yield nothing: a restart does not correct a clock."""
        yield from ()

    def readiness_issues(self) -> Iterator[str]:
        """Yield the difference, if there is one."""
        if (readiness_issue := self._issue) is not None:
            yield readiness_issue
