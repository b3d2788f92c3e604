"""The newest events, through a temporary subscription that exists while a page is open."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from adapters.aws.client import error_code
from operations.event_tail import EventTail, follow_events
from operations.received_event import ReceivedEvent

logger = structlog.get_logger(__name__)

KEPT: Final = 500
"""Maximum number of events that are shown."""
CLOSE_AFTER: Final = 60.0
"""Seconds without an open page after which the subscription ends."""

OpenTail = Callable[[], AbstractContextManager[EventTail]]


class LiveEvents:
    """Receives events in a thread while pages watch, and keeps the newest."""

    def __init__(self, open_tail: OpenTail) -> None:
        """Subscribe by `open_tail`; nothing is created until a page watches."""
        self._open_tail = open_tail
        self._changed = threading.Condition()
        self._events: deque[tuple[int, ReceivedEvent]] = deque(maxlen=KEPT)
        self._number = 0
        self._watchers = 0
        self._left_at = 0.0
        self._running = False
        self._closed = False
        self._tail: AbstractContextManager[EventTail] | None = None
        self._started, self._started_clock = datetime.now(UTC), time.monotonic()
        self.problem: str | None = None
        """Why events cannot be received."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Keep the subscription for the duration of the block."""
        with self._changed:
            self._watchers += 1
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="console events", daemon=True).start()
        try:
            yield
        finally:
            with self._changed:
                self._watchers -= 1
                self._left_at = time.monotonic()

    def close(self) -> None:
        """Remove the subscription and its queue, when the console ends."""
        with self._changed:
            self._closed, tail = True, self._tail
        if tail is not None:
            tail.__exit__(None, None, None)  # the receiving thread may be in a long poll

    def after(self, number: int, wait: float) -> list[tuple[int, ReceivedEvent]]:
        """Return events with higher numbers, oldest first; wait some seconds for the first."""
        with self._changed:
            if number > self._number:  # of an earlier console
                number = 0
            self._changed.wait_for(lambda: self._number > number, wait)
            return [each for each in self._events if each[0] > number]

    def newest(self) -> list[tuple[datetime, ReceivedEvent]]:
        """Return the kept events with the times at which they were received, oldest first."""
        with self._changed:
            return [(self._time(event), event) for _, event in self._events]

    def of_command(self, command_id: str) -> list[tuple[datetime, ReceivedEvent]]:
        """Return the kept events of a command, with the times at which they were received."""
        with self._changed:
            found = [event for _, event in self._events if event.command_id == command_id]
        return [(self._time(event), event) for event in found]

    def _time(self, event: ReceivedEvent) -> datetime:
        return self._started + timedelta(seconds=event.received_at - self._started_clock)

    def _run(self) -> None:
        try:
            opened = self._open_tail()
            with opened as tail:
                with self._changed:
                    self._tail = opened
                self.problem = None
                for event in follow_events(tail, ends=self._ends):
                    self._add(event)
        except Exception as error:  # noqa: BLE001 - shown on the page; the next page tries again
            self.problem = f"events cannot be received: {error_code(error)}"
            logger.warning("console_events_unavailable", reason=error_code(error))
        finally:
            with self._changed:
                self._running, self._tail = False, None

    def _add(self, event: ReceivedEvent) -> None:
        with self._changed:
            self._number += 1
            self._events.append((self._number, event))
            self._changed.notify_all()

    def _ends(self) -> bool:
        with self._changed:
            if self._closed:
                return True
            return not self._watchers and time.monotonic() - self._left_at > CLOSE_AFTER
