"""The overview: queues, dead letters, outbox, table and topics, and how they changed."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from operations.status import read_status
from worker.connections import Aws

if TYPE_CHECKING:
    from starlette.responses import Response

    from console.web import Call

EVERY: Final = 5.0
"""Seconds for which a reading is shown before AWS is read again, however many pages are open."""
KEPT: Final = 720
"""Readings that are kept: one hour, while a page is open."""
WIDTH, HEIGHT = 240, 48
"""Size of a plot, in the units of its SVG."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The state at one time."""

    at: datetime
    status: dict[str, Any]

    @property
    def waiting(self) -> int:
        """Messages that wait in the command queues, or are delayed there."""
        queues = filter(None, self.status["command_queues"].values())
        return sum(each["visible"] + each["delayed"] for each in queues)

    @property
    def in_flight(self) -> int:
        """Messages that workers hold."""
        return sum(each["in_flight"] for each in self.status["command_queues"].values() if each)

    @property
    def dead_letters(self) -> int:
        """Messages in the dead-letter queue."""
        return sum((self.status["dead_letters"] or {}).values())

    @property
    def outbox(self) -> int:
        """Entries that wait to be published, and those that are parked."""
        outbox = self.status["outbox"]
        return 0 if outbox is None else outbox["pending"] + len(outbox["parked"])


PLOTS: Final = (
    ("waiting", "Commands waiting"),
    ("in_flight", "Commands in flight"),
    ("dead_letters", "Dead letters"),
    ("outbox", "Outbox entries"),
)


@dataclass(slots=True)
class History:
    """The readings of the last hour."""

    readings: deque[Reading] = field(default_factory=lambda: deque(maxlen=KEPT))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _read_at: float = float("-inf")

    def newest(self, aws: Aws) -> Reading:
        """Return the newest reading; read AWS if it is too old. Raises the errors of AWS."""
        with self._lock:
            due = time.monotonic() - self._read_at >= EVERY
            if due or not self.readings:
                self._read_at = time.monotonic()
        if due or not self.readings:  # outside the lock: pages do not wait for each other's calls
            self.readings.append(Reading(datetime.now(UTC), read_status(aws)))
        return self.readings[-1]

    def points(self, name: str) -> str:
        """Return the points of a plot's line, from the oldest reading to the newest."""
        values = [getattr(each, name) for each in list(self.readings)]
        if len(values) == 1:
            values *= 2
        top = max(*values, 1)
        step = WIDTH / (len(values) - 1)
        return " ".join(
            f"{place * step:.1f},{HEIGHT - 2 - (HEIGHT - 4) * value / top:.1f}"
            for place, value in enumerate(values)
        )


def page(call: Call) -> Response:
    """Show the overview."""
    return call.page("overview.html", **_values(call))


def part(call: Call) -> Response:
    """Return the part of the overview that is renewed."""
    return call.page("overview_part.html", **_values(call))


def _values(call: Call) -> dict[str, Any]:
    history = call.console.history
    reading = history.newest(call.console.aws)
    plots = [
        {"name": name, "title": title, "now": getattr(reading, name), "line": history.points(name)}
        for name, title in PLOTS
    ]
    first = history.readings[0].at
    return {"reading": reading, "plots": plots, "width": WIDTH, "height": HEIGHT, "since": first}
