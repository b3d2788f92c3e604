"""The overview: queues, workers, outbox, table and topics, with plots of the last hour."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import structlog
from starlette.responses import Response

from adapters.aws.client import error_code
from console.live_page import newest_commands
from console.shared_read import SharedRead
from console.web import Call
from console.workers import Totals, Workers, WorkerState
from operations.status import read_status
from worker.connections import Aws

logger = structlog.get_logger(__name__)

EVERY: Final = 5.0
"""Seconds for which a reading is shown before it is renewed, however many pages are open."""
UNWATCHED: Final = 60.0
"""Seconds between two readings while no page is open, so that a plot has its past."""
HOUR: Final = 3_600.0
KEPT: Final = 720
"""Maximum number of readings: one hour while a page is open."""
ENTRIES: Final = 250
"""Entries of each shard of the outbox that are counted, so that a long outbox is read quickly."""
WIDTH, HEIGHT = 240, 48
"""Size of a plot, in the units of its SVG."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The state at one time."""

    at: datetime
    clock: float
    """The time of the monotonic clock, in seconds."""
    status: dict[str, Any]
    workers: Sequence[WorkerState] = ()
    seconds: float = 0.0
    """Seconds since the reading before; 0 for the first one."""
    increase: Totals = field(default_factory=Totals)
    """Increase of the workers' counters since the reading before."""

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

    def per_second(self, *outcomes: str) -> float:
        """Commands that ended with one of these outcomes, per second since the reading before."""
        return sum(map(self.increase.count, outcomes)) / self.seconds if self.seconds else 0.0


@dataclass(slots=True)
class History:
    """The readings of the last hour."""

    workers: Workers = field(default_factory=Workers)
    readings: deque[Reading] = field(default_factory=lambda: deque(maxlen=KEPT))
    _shared: SharedRead[Reading] = field(default_factory=SharedRead[Reading])

    def newest(self, aws: Aws, older_than: float = EVERY) -> Reading:
        """Return the newest reading; read again if it is older. Raises the errors of AWS."""

        def known() -> Reading | None:
            last = self.readings[-1] if self.readings else None
            return last if last and time.monotonic() - last.clock < older_than else None

        def read() -> Reading:
            self._read(aws)
            return self.readings[-1]

        return self._shared.get(known, read)

    def _read(self, aws: Aws) -> None:
        status, workers = read_status(aws, ENTRIES), self.workers.read()
        now = time.monotonic()
        last = self.readings[-1] if self.readings else None
        known = {} if last is None else {each.address: each.totals for each in last.workers}
        increase = Totals.sum(
            each.totals.since(before)
            for each in workers
            if each.totals is not None and (before := known.get(each.address)) is not None
        )
        seconds = 0.0 if last is None else now - last.clock
        self.readings.append(Reading(datetime.now(UTC), now, status, workers, seconds, increase))
        while now - self.readings[0].clock > HOUR:
            self.readings.popleft()

    def keep(self, aws: Aws, ending: threading.Event, every: float = UNWATCHED) -> None:
        """Read every so many seconds until `ending` is set, whether or not a page is open."""
        failing = False
        while not ending.is_set():
            try:
                self.newest(aws, every)
                failing = False
            except Exception as error:  # noqa: BLE001 - the page shows it; the next reading may work
                if not failing:
                    logger.warning("console_reading_failed", reason=error_code(error))
                failing = True
            ending.wait(every)

    def of_last(self, seconds: float) -> Totals:
        """Return the increase of the workers' counters over the last seconds."""
        readings = list(self.readings)
        since = readings[-1].clock - seconds if readings else 0.0
        return Totals.sum(each.increase for each in readings if each.clock > since)

    def rejections(self) -> list[tuple[str, int]]:
        """Return the rejections of the readings by code, the most frequent first."""
        counts: Counter[str] = Counter()
        for (outcome, code), count in self.of_last(HOUR).ended.items():
            if outcome == "rejected" and count:
                counts[code] += round(count)
        return counts.most_common()


# --- plots ---

Value = Callable[[Reading], float | None]


@dataclass(frozen=True, slots=True)
class Plot:
    """One figure, and its line over the readings."""

    title: str
    now: str
    """The last known value, with its unit."""
    top: str
    """The highest value."""
    line: str
    """Points of the line in the SVG."""


def plot(
    readings: Sequence[Reading], title: str, value: Value, text: Callable[[float], str]
) -> Plot:
    """Return a plot; readings without a value are left out of its line."""
    points = [(each.clock, found) for each in readings if (found := value(each)) is not None]
    if not points:
        return Plot(title, "-", "-", "")
    if len(points) == 1:
        points = [(points[0][0] - 1, points[0][1]), points[0]]
    start, end = points[0][0], points[-1][0]
    top = max(*(number for _, number in points), 1e-9)
    line = " ".join(
        f"{WIDTH * (clock - start) / (end - start):.1f},"
        f"{HEIGHT - 2 - (HEIGHT - 4) * number / top:.1f}"
        for clock, number in points
    )
    highest = max(number for _, number in points)
    return Plot(title, text(points[-1][1]), text(highest), line)


def milliseconds(seconds: float) -> str:
    """Return a time for a page."""
    return f"{seconds:.1f} s" if seconds >= 10 else f"{1_000 * seconds:.0f} ms"  # noqa: PLR2004


def _whole(number: float) -> str:
    return f"{number:.0f}"


def _rate(number: float) -> str:
    return f"{number:.1f}/s"


Figure: TypeAlias = tuple[str, Value, Callable[[float], str]]
"""Title of a plot, its value, and the text of a value."""
_OF_AWS: Final[tuple[Figure, ...]] = (
    ("Commands waiting", lambda each: each.waiting, _whole),
    ("Commands in flight", lambda each: each.in_flight, _whole),
    ("Dead letters", lambda each: each.dead_letters, _whole),
    ("Outbox entries", lambda each: each.outbox, _whole),
)
_OF_WORKERS: Final[tuple[Figure, ...]] = (
    ("Commands per second", lambda each: each.per_second("accepted", "rejected"), _rate),
    ("Rejections per second", lambda each: each.per_second("rejected"), _rate),
    ("Critical time, p50", lambda each: each.increase.percentile(0.5), milliseconds),
    ("Critical time, p99", lambda each: each.increase.percentile(0.99), milliseconds),
)


def page(call: Call) -> Response:
    """Show the overview."""
    newest = newest_commands(call) if call.console.watches else {}
    return part(call, "overview.html", **newest)


def part(call: Call, template: str = "overview_part.html", **more: Any) -> Response:
    """Return the part of the overview that is renewed."""
    history = call.console.history
    reading = history.newest(call.console.aws)
    readings = list(history.readings)
    measured = [each for each in readings if each.seconds]
    plots = [plot(readings, *figure) for figure in _OF_AWS]
    if any(each.totals is not None for each in reading.workers) and measured:
        plots += [plot(measured, *figure) for figure in _OF_WORKERS]
    return call.page(
        template,
        reading=reading,
        plots=plots,
        rejections=history.rejections(),
        width=WIDTH,
        height=HEIGHT,
        since=readings[0].at,
        **more,
    )
