"""The newest events, through a temporary subscription that exists while a page is open."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

import structlog

from adapters.aws.client import error_code
from application.backoff import Backoff
from operations.event_tail import EventTail, follow_events
from operations.printable import counted, printable
from operations.received_event import ReceivedEvent

logger = structlog.get_logger(__name__)

KEPT: Final = 500
"""Maximum number of events that are shown."""
CLOSE_AFTER: Final = 60.0
"""Seconds without an open page after which the subscription ends."""

RETRY: Final = Backoff(1.0, 30.0)
"""Pauses between two attempts to subscribe, without jitter."""
OPENING: Final = 2.0
"""Maximum seconds to wait at the end for a subscription that is being created."""
FIELDS: Final = 40
LONGEST: Final = 500
LONGEST_NAME: Final = 100
"""Maximum number of fields, and of characters of values and names, that are kept of an event: an
event can have 256 KiB, and each page receives all events that are kept."""

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
        self._thread: threading.Thread | None = None
        self._closed = False
        self._tail: AbstractContextManager[EventTail] | None = None
        self._started, self._started_clock = datetime.now(UTC), time.monotonic()
        self.problem: str | None = None
        """Why events cannot be received; `None` if they are."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Keep the subscription for the duration of the block."""
        with self._changed:
            if self._thread is None and not self._closed:
                thread = threading.Thread(target=self._run, name="console events", daemon=True)
                thread.start()
                self._thread = thread
            self._watchers += 1
        try:
            yield
        finally:
            with self._changed:
                self._watchers -= 1
                self._left_at = time.monotonic()

    def close(self) -> None:
        """Remove the subscription and its queue, when the console ends."""
        with self._changed:
            self._closed, tail, thread = True, self._tail, self._thread
            self._changed.notify_all()
        if tail is not None:
            tail.__exit__(None, None, None)  # the receiving thread may be in a long poll
        elif thread is not None:
            thread.join(OPENING)  # it removes what it has created

    def after(self, number: int) -> list[tuple[int, ReceivedEvent]]:
        """Return the kept events with higher numbers, oldest first."""
        with self._changed:
            if number > self._number:  # of an earlier console
                number = 0
            return [each for each in self._events if each[0] > number]

    def newest(self, most: int = KEPT) -> list[tuple[datetime, ReceivedEvent]]:
        """Return the newest kept events with the times of their arrival, oldest first."""
        with self._changed:
            found = list(islice(reversed(self._events), most))
        return [(self._time(event), event) for _, event in reversed(found)]

    def of_command(self, command_id: str) -> list[tuple[datetime, ReceivedEvent]]:
        """Return the kept events of a command, with the times at which they were received."""
        with self._changed:
            found = [event for _, event in self._events if event.command_id == command_id]
        return [(self._time(event), event) for event in found]

    def _time(self, event: ReceivedEvent) -> datetime:
        return self._started + timedelta(seconds=event.received_at - self._started_clock)

    def _run(self) -> None:
        """Receive events until no page watches; subscribe again after any error."""
        failures = 0
        while True:
            try:
                self._receive()
                failures = 0
            except Exception as error:  # noqa: BLE001 - shown on the page
                failures += 1
                self._report(error)
                if failures == 1:
                    logger.warning("console_events_unavailable", reason=error_code(error))
            with self._changed:
                self._tail = None
                if failures:
                    self._changed.wait_for(lambda: self._closed, RETRY.ceiling(failures))
                if self._ends():  # a page may have been opened while the subscription was removed
                    self._thread = None
                    return

    def _receive(self) -> None:
        opened = self._open_tail()
        with opened as tail:
            with self._changed:
                self._tail = opened
            self.problem = None
            for event in follow_events(tail, ends=self._ends, polled=self._report):
                self._add(event)

    def _report(self, error: Exception | None) -> None:
        self.problem = None
        if error is not None:
            code = error_code(error)
            self.problem = f"Events cannot be received: {code}. The console tries again."

    def _add(self, event: ReceivedEvent) -> None:
        short = _shortened(event)
        with self._changed:
            self._number += 1
            self._events.append((self._number, short))

    def _ends(self) -> bool:
        with self._changed:
            if self._closed:
                return True
            return not self._watchers and time.monotonic() - self._left_at > CLOSE_AFTER


def _shortened(event: ReceivedEvent) -> ReceivedEvent:
    """Return an event with what pages show of it."""
    fields = islice(event.data.items(), FIELDS)
    return replace(
        event,
        id=event.id[:LONGEST_NAME],
        type=event.type[:LONGEST_NAME],
        user_id=event.user_id and event.user_id[:LONGEST_NAME],
        command_id=event.command_id and event.command_id[:LONGEST_NAME],
        data={name[:LONGEST_NAME]: _short(value) for name, value in fields if value is not None},
        attributes={},
    )


def _short(value: object) -> str:
    text = value if isinstance(value, str) else printable(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} [{counted(len(text), 'character')}]"
