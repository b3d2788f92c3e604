"""Whether SQS carries out one kind of call, and when the next one may be made.

A call fails *as a whole* if it raises, or if every one of its entries fails with a code that does
not concern the entry. Repeating such a call for every message is useless. So the kind of call
counts as *refused*: one small call at a time probes it, at growing intervals, and all other calls
of that kind wait until a probe succeeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from application.backoff import HALF, Backoff

logger = structlog.get_logger(__name__)

TOLERATED = 1
"""Calls in a row that may fail as a whole before the kind of call counts as refused."""
BACKOFF = Backoff(0.2, 15.0, HALF)
"""Until the next attempt: about 30 calls in four minutes."""
LOOK_AGAIN = 0.1
"""Seconds until the next check, if no message is free for a probe."""


@dataclass(slots=True)
class Refusal:
    """One kind of call on one queue. Times are from `time.monotonic`, in seconds.

    Changed by the acknowledger's thread only; `refused` and `readiness_issue` may be read by any
    thread.
    """

    queue: str
    call: str
    """The operation, as AWS names it."""
    probing: bool = False
    """Whether a probe is in progress."""
    _failures: int = 0
    """Calls in a row that failed as a whole."""
    _since: float = 0.0
    _not_before: float = float("-inf")
    _code: str = ""
    _suspect: str | None = None

    @property
    def failing(self) -> bool:
        """Whether the last call failed as a whole."""
        return self._failures > 0

    @property
    def refused(self) -> bool:
        """Whether only probes are made."""
        return self._failures > TOLERATED

    @property
    def readiness_issue(self) -> str | None:
        """Which call fails, and the code; `None` while calls succeed."""
        return f"{self.call} fails: {self._code}" if self.refused else None

    @property
    def not_before(self) -> float:
        """When the next call may be made; infinity while a probe is in progress."""
        return float("inf") if self.probing else self._not_before

    def failed(self, code: str, now: float) -> None:
        """Record a call that failed as a whole; log the beginning of an episode."""
        self._failures += 1
        self._not_before = now + BACKOFF.delay(self._failures)
        self._code = code
        if self._failures == TOLERATED + 1:
            self._since = now
            logger.error("settling_failed", queue=self.queue, call=self.call, reason=code)

    def succeeded(self, now: float) -> None:
        """Record a call that SQS carried out, at least in part; log the end of an episode."""
        if self.refused:
            seconds = round(now - self._since, 1)
            logger.warning("settling_again", queue=self.queue, call=self.call, seconds=seconds)
        self._failures, self._not_before, self._suspect = 0, float("-inf"), None

    def suspects(self, receipt: str) -> bool:
        """Record that a call for one message failed; return True if its message may be the cause.

        That is so until the call fails for another message too.
        """
        if self.refused or self._suspect not in {None, receipt}:
            return False
        self._suspect = receipt
        return True

    def look_again(self, now: float) -> None:
        """Delay the next probe by `LOOK_AGAIN` seconds."""
        self._not_before = now + LOOK_AGAIN

    def hurry(self) -> None:
        """Allow the next call at once: the worker is shutting down."""
        self._not_before = float("-inf")
