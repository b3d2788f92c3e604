"""The relay: finishes what a crash left in the outbox.

Every worker runs one, and they do not know of each other: a doubled publication is harmless,
since ids are stable, and a lease would be one more thing to be left behind.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from time import monotonic

import structlog

from domain.outbox import Outbox
from domain.ports import (
    Clock,
    EventPublisher,
    JobKind,
    Pointer,
    StoreUnavailableError,
)
from worker.messages import render_events
from worker.retry import Draw
from worker.vital import ENDED, LONGEST_BATCH, Sign

logger = structlog.get_logger(__name__)

PAGE = 10
"""Pointers read at a time."""
MAX_PAGES = 100
"""Pages a look: what a shard holds beyond is for the next one."""
HOPELESS = 3
"""Pointers in a row of which the topic takes no event; then the look ends, as it is away."""


@dataclass(frozen=True, slots=True)
class RelayPolicy:
    """How often, in seconds, and at what age of a pointer the relay steps in."""

    interval: float
    age: timedelta
    draw: Draw = random.uniform


class Ending(Enum):
    """What became of a pointer."""

    DONE = auto()
    """Closed: all it asked for is done."""
    PARKED = auto()
    """Set apart for a person."""
    LEFT = auto()
    """For another look: the topic or the store cannot take it now."""
    AWAY = auto()
    """For another look too: the topic took nothing of it."""
    UNREADABLE = auto()
    """For a person or, if the format is a later one, for a newer worker."""


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
        self._beat_at = monotonic()
        self._trouble: str | None = None
        self._deferred: Counter[str] = Counter()
        """Events that the topic did not take in this look, by its reason."""

    def signs(self) -> Iterator[Sign]:
        """Say when it last looked, or worked on a pointer, if it runs. Any thread."""
        if self._thread is not None and not self._stopping.is_set():
            age = monotonic() - self._beat_at if self._thread.is_alive() else ENDED
            yield Sign("the relay has not looked", age, LONGEST_BATCH + 2 * self._policy.interval)

    def troubles(self) -> Iterator[str]:
        """Say what kept its last look from the outbox. Any thread."""
        if self._trouble is not None:
            yield self._trouble

    def start(self) -> None:
        """Look at the outbox from time to time, in a thread."""
        self._thread = threading.Thread(target=self._loop, name="relay", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread, after the pointer in hand; wait for it `timeout` seconds at most."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def run_once(self) -> int:
        """Go through one shard; give how many pointers were worked off.

        What cannot be done now is left, and what is behind it is done all the same, unless the
        topic is away.

        Raises:
            StoreUnavailableError: the outbox cannot be read now.
        """
        before = self._clock.now() - self._policy.age
        endings: Counter[Ending] = Counter()
        self._deferred.clear()
        in_vain = 0
        for pointer in self._pointers(before, endings):
            ending = self.work_off(pointer)
            endings[ending] += 1
            in_vain = in_vain + 1 if ending is Ending.AWAY else 0
            if in_vain == HOPELESS or self._stopping.is_set():
                break
        if endings[Ending.UNREADABLE]:
            logger.warning("outbox_unreadable", pointers=endings[Ending.UNREADABLE])
        if self._deferred:  # nothing else says why it stays, where no batch publishes
            reasons = sorted(self._deferred)
            logger.warning("publish_deferred", events=self._deferred.total(), reasons=reasons)
        return endings[Ending.DONE] + endings[Ending.PARKED]

    def _loop(self) -> None:
        while not self._stopping.wait(self._policy.interval * self._policy.draw(0.5, 1.5)):
            self._beat()
            try:
                self.run_once()
                self._trouble = None
            except StoreUnavailableError as error:
                self._trouble = "the outbox cannot be read: the store is away"
                logger.warning("outbox_unavailable", reason=str(error))
            except Exception:  # the relay must outlive whatever it meets
                self._trouble = "the relay has failed: see the log"
                logger.exception("relay_failed")

    def _beat(self) -> None:
        self._beat_at = monotonic()

    def _pointers(self, before: datetime, endings: Counter[Ending]) -> Iterator[Pointer]:
        """Read one shard, page by page."""
        after = None
        for _ in range(MAX_PAGES):
            page = self._outbox.pending(before, PAGE, after)
            endings[Ending.UNREADABLE] += len(page.unreadable)
            yield from page.pointers
            after = page.last
            if after is None:
                return

    def work_off(self, pointer: Pointer) -> Ending:
        """Do what a pointer asks for; whatever stands in the way concerns this one alone."""
        self._beat()
        try:
            match pointer.kind:
                case JobKind.PUBLISH:
                    return self._publish(pointer)
                case JobKind.SCRUB:
                    return self._scrub(pointer)
        except StoreUnavailableError as error:
            logger.warning("outbox_pointer_left", pointer=pointer.sort_key, reason=str(error))
        except Exception:  # a bug that one pointer brings out is no reason to leave the others
            logger.exception("outbox_pointer_failed", pointer=pointer.sort_key)
        return Ending.LEFT

    def _publish(self, pointer: Pointer) -> Ending:
        outcomes = self._outbox.outcomes([pointer])
        if outcomes.unreadable:
            return Ending.UNREADABLE
        missing = [key for key in pointer.commands if key not in outcomes.found]
        if missing:
            return self._park(pointer, f"{len(missing)} of its outcomes are missing")
        messages = [e for key in pointer.commands for e in render_events(outcomes.found[key])]
        failures = self._publisher.publish(messages)
        if not all(failure.permanent for failure in failures.values()):
            # also beside one that is refused: nobody would publish the others once it is parked
            self._deferred.update(failure.reason for failure in failures.values())
            return Ending.AWAY if len(failures) == len(messages) else Ending.LEFT
        if failures:
            refused = ", ".join(sorted({failure.reason for failure in failures.values()}))
            return self._park(pointer, f"the topic refuses an event: {refused}")
        self._outbox.close([pointer])
        logger.info("relayed", events=len(messages), commands=len(pointer.commands))
        return Ending.DONE

    def _park(self, pointer: Pointer, reason: str) -> Ending:
        self._outbox.park(pointer, reason)
        logger.error("outbox_pointer_parked", reason=reason, pointer=pointer.sort_key)
        return Ending.PARKED

    def _scrub(self, pointer: Pointer) -> Ending:
        users = {key.user_id for key in pointer.commands if key.user_id is not None}
        if sum(self._outbox.scrub(user_id, self._beat) for user_id in users):
            return Ending.UNREADABLE
        self._outbox.close([pointer])
        for user_id in users:
            logger.info("scrubbed", user_id=user_id)
        return Ending.DONE
