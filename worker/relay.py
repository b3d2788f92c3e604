"""The relay: finishes what a crash left in the outbox.

Every worker runs one, and they do not know of each other: a doubled publication is harmless,
since ids are stable, and a lease would be one more thing to be left behind.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from domain.ports import (
    Clock,
    CommandKey,
    EventPublisher,
    JobKind,
    Outbox,
    Outcome,
    Pointer,
    StoreUnavailableError,
)
from worker.messages import render_events
from worker.retry import Draw

logger = structlog.get_logger(__name__)

PAGE = 10
"""Pointers worked off at a time."""


@dataclass(frozen=True, slots=True)
class RelayPolicy:
    """How often, in seconds, and at what age of a pointer the relay steps in."""

    interval: float
    age: timedelta
    draw: Draw = random.uniform


class Relay:
    """Publishes what was committed and not published, and scrubs erased users."""

    def __init__(
        self, outbox: Outbox, publisher: EventPublisher, clock: Clock, policy: RelayPolicy
    ) -> None:
        """Take the ports and the policy; nothing runs until `start`."""
        self._outbox = outbox
        self._publisher = publisher
        self._clock = clock
        self._policy = policy
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look at the outbox from time to time, in a thread."""
        self._thread = threading.Thread(target=self._loop, name="relay", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread, after the page in hand; wait for it `timeout` seconds at most."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def run_once(self) -> int:
        """Work off one random shard; give how many pointers it held.

        Raises:
            StoreUnavailableError: the outbox cannot be read now.
        """
        before = self._clock.now() - self._policy.age
        done = 0
        while not self._stopping.is_set():
            pointers = self._outbox.pending(before, PAGE)
            left = self._work_off(pointers)
            done += len(pointers) - left
            # A page that did not empty would only be read again: leave it to the next look.
            if len(pointers) < PAGE or left:
                break
        return done

    def _loop(self) -> None:
        while not self._stopping.wait(self._policy.interval * self._policy.draw(0.5, 1.5)):
            try:
                self.run_once()
            except StoreUnavailableError as error:
                logger.warning("outbox_unavailable", reason=str(error))
            except Exception:  # the relay must outlive whatever it meets
                logger.exception("relay_failed")

    def _work_off(self, pointers: Sequence[Pointer]) -> int:
        """Do what the pointers ask for; give how many are left."""
        if not pointers:
            return 0
        to_publish = [pointer for pointer in pointers if pointer.kind is JobKind.PUBLISH]
        outcomes = self._outbox.outcomes(to_publish) if to_publish else {}
        left = sum(not self._publish(pointer, outcomes) for pointer in to_publish)
        for pointer in pointers:
            if pointer.kind is JobKind.SCRUB:
                self._scrub(pointer)
        return left

    def _publish(self, pointer: Pointer, outcomes: dict[CommandKey, Outcome]) -> bool:
        missing = [key for key in pointer.commands if key not in outcomes]
        if missing:
            self._park(pointer, f"{len(missing)} of its outcomes are missing")
            return True
        messages = [e for key in pointer.commands for e in render_events(outcomes[key])]
        failures = self._publisher.publish(messages)
        refused = sorted({failure.reason for failure in failures.values() if failure.permanent})
        if refused:
            self._park(pointer, f"the topic refuses an event: {', '.join(refused)}")
        elif not failures:
            self._outbox.close([pointer])
            logger.info("relayed", events=len(messages), commands=len(pointer.commands))
        return bool(refused) or not failures

    def _park(self, pointer: Pointer, reason: str) -> None:
        self._outbox.park(pointer, reason)
        logger.error("outbox_pointer_parked", reason=reason, pointer=pointer.sort_key)

    def _scrub(self, pointer: Pointer) -> None:
        for key in pointer.commands:
            if key.user_id is not None:
                self._outbox.scrub(key.user_id)
                logger.info("scrubbed", user_id=key.user_id)
        self._outbox.close([pointer])
