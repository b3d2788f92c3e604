"""The circuit breaker: how much of a queue may be received while AWS is unavailable.

Every receive counts towards the dead-letter queue, so in an outage the worker must not receive
messages that it cannot process. Batches report whether the store answered, and the breaker of their
queue decides by these reports:

- **closed**: receive as much as possible.
- **suspicious**, after a few batches in a row for which the store did not answer: run a *probe*, a
  batch without messages that reads and writes the store; a probe costs no receive. If it
  succeeds, the failures concerned a few users, and the breaker closes. If batches then continue
  to fail without any success, the breaker opens in spite of the probe.
- **open**, after a failed probe: receive nothing, and probe again at growing intervals.
- **half-open**, after a successful probe: receive one message, then twice as many each time while
  that succeeds; a failed trial opens the breaker again.

If the store refuses only the items of single users, it is available, see `Dispositions`.

An unavailable topic is different: what is committed is safe, and the relay publishes it. Receiving
continues, at a rate at which the outbox does not grow faster than the relay empties it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import TypeAlias

import structlog

from application.backoff import HALF, Backoff
from application.queue_port import MAX_BATCH

logger = structlog.get_logger(__name__)

TOLERATED = 2
"""Batches in a row that may fail for the same cause before the breaker reacts."""
BACKOFF = Backoff(1.0, 30.0, HALF)
"""Pauses between probes."""
PACE = 1.0
"""Seconds between receives while the topic is unavailable."""
REPORT_WITHIN = 60.0
"""Seconds after which a probe or trial without a report counts as failed."""
LOOK_AGAIN = 0.05
"""Seconds between checks for the report of a probe or trial."""


@dataclass(frozen=True, slots=True)
class Receive:
    """Receive at most this many messages."""

    messages: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Run a batch without messages."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for this many seconds, then ask again."""

    seconds: float


Advice: TypeAlias = Receive | Probe | Wait


class Breaker:
    """Decide what the receivers of one queue do next; thread-safe."""

    def __init__(self, name: str, clock: Callable[[], float] = monotonic) -> None:
        self._name = name
        self._clock = clock
        self._lock = Lock()
        self._messages = MAX_BATCH
        """Messages per receive: ten when closed, fewer when half-open, none when open."""
        self._store_failures = 0
        self._topic_failures = 0
        """Batches in a row that failed for this cause."""
        self._suspicious = False
        """Whether a probe decides whether to open."""
        self._cleared = False
        """Whether such a probe succeeded, without a successful batch since."""
        self._openings = 0
        """How often it opened, or stayed open, since the store last answered a batch."""
        self._not_before = 0.0
        self._report_by: float | None = None
        """Time until which the report of a probe or trial is awaited."""

    @property
    def readiness_issue(self) -> str | None:
        """What is unavailable, or `None`; a trial after an outage is not an issue."""
        if self._messages == 0 and not self._suspicious:
            return "the store is unavailable"
        return "the topic is unavailable" if self._paced else None

    @property
    def state(self) -> int:
        """State as a number: 0 receives all, 1 slowed, 2 on trial, 3 receives nothing."""
        if self._messages == 0 and not self._suspicious:
            return 3
        if self._messages < MAX_BATCH:
            return 2
        return int(self._paced)

    @property
    def receives_all(self) -> bool:
        """Whether the receivers receive as many messages as they can. Any thread."""
        return self._messages == MAX_BATCH

    @property
    def _paced(self) -> bool:
        return self._topic_failures > TOLERATED

    def ask(self) -> Advice:
        """Return what a receiver must do now; it asks again afterwards."""
        with self._lock:
            now = self._clock()
            if self._report_by is not None:
                if now < self._report_by:
                    return Wait(LOOK_AGAIN)
                self._open(now)
            if now < self._not_before:
                return Wait(self._not_before - now)
            if self._messages < MAX_BATCH:
                self._report_by = now + REPORT_WITHIN
            elif self._paced:
                self._not_before = now + PACE
            return Receive(self._messages) if self._messages else Probe()

    def trial_received_nothing(self) -> None:
        """Record that a trial received no message, so that no report will follow."""
        with self._lock:
            self._report_by = None

    def report(self, *, store: bool | None, topic: bool | None, probe: bool = False) -> None:
        """Record what a batch, or a probe, found of store and topic; see `Dispositions`."""
        with self._lock:
            if self._messages == MAX_BATCH:
                self._report_of_topic(took=topic)
                self._report_of_store(answered=store)
            elif self._report_by is None:
                pass  # of an earlier batch
            elif self._messages == 0 and not probe and not store:
                pass  # of an earlier batch: only the probe itself counts as a failure
            else:
                self._report_of_trial(answered=store)

    def _report_of_topic(self, *, took: bool | None) -> None:
        if took is None:
            return
        was_paced = self._paced
        self._topic_failures = 0 if took else self._topic_failures + 1
        if self._paced and not was_paced:
            logger.warning("receiving_slowed", queue=self._name, reason="the topic is unavailable")
        elif was_paced and not self._paced:
            self._not_before = 0.0
            self._log_end()

    def _report_of_store(self, *, answered: bool | None) -> None:
        if answered is None:
            return
        self._store_failures = 0 if answered else self._store_failures + 1
        if answered:
            self._openings = 0
            self._cleared = False
        elif self._store_failures > TOLERATED:
            if self._cleared:
                self._open(self._clock())
            else:
                self._suspicious, self._messages, self._not_before = True, 0, 0.0

    def _report_of_trial(self, *, answered: bool | None) -> None:
        if answered is False:
            self._open(self._clock())
            return
        self._report_by = None
        if self._suspicious:
            self._suspicious, self._cleared = False, True
            self._messages, self._store_failures = MAX_BATCH, 0
            return
        if answered is None:  # a message that did not need the store proves nothing
            return
        self._messages = min(max(1, 2 * self._messages), MAX_BATCH)
        if self._messages == MAX_BATCH:
            self._store_failures = 0
            self._log_end()

    def _open(self, now: float) -> None:
        if self._suspicious or self._messages == MAX_BATCH:  # otherwise it was open before
            logger.warning("receiving_stopped", queue=self._name, reason="the store is unavailable")
        self._suspicious = self._cleared = False
        self._messages, self._report_by = 0, None
        self._openings += 1
        self._not_before = now + BACKOFF.delay(self._openings)

    def _log_end(self) -> None:
        logger.warning("receiving_at_full_speed", queue=self._name)
