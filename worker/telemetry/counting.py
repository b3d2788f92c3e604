"""Counts, in files: each process of a worker in one of its own, and the parent adds them up.

The files are those of Prometheus's client library, in its multiprocess mode. What a child counted
outlives it, a child is asked for nothing, and counting costs a fifth of what OpenTelemetry's SDK
takes for it. Whoever fetches them, or has them sent, gets one sum a worker.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import structlog
from prometheus_client import values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.utils import floatToGoString

from worker.telemetry.configuration import TelemetryError
from worker.telemetry.instruments import CATALOGUE, Instrument, Kind
from worker.telemetry.port import Meter, Reading

logger = structlog.get_logger(__name__)

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Where the client library looks for the folder of the files."""
Key: TypeAlias = tuple[str, tuple[str, ...]]
"""A series: the metric's name, and the labels' values."""


@dataclass(slots=True)
class Series:
    """What was counted under one set of labels, by all processes of a worker."""

    total: float = 0.0
    """Of a counter; of a histogram, the sum of its values."""
    buckets: dict[float, float] = field(default_factory=dict)
    """Of a histogram: how many values are in each bucket, by its upper bound; infinity is last."""


class Counts:
    """The files of one worker, and its gauges; made in the parent, before any child."""

    def __init__(self) -> None:
        """Make the folder.

        Raises:
            TelemetryError: there is no place for temporary files.
        """
        self._pid = os.getpid()
        self._gauges: list[tuple[Instrument, Callable[[], Iterable[Reading]]]] = []
        self._writers: list[Callable[[], None]] = []
        try:
            self.folder: Final = Path(tempfile.mkdtemp(prefix="user-worker-metrics-"))
        except OSError as error:
            raise TelemetryError(
                f"TMPDIR must be a folder that can be written to: metrics are counted there; "
                f"{error.strerror or type(error).__name__}"
            ) from error

    @property
    def here(self) -> bool:
        """Whether this process made them, and is no child of the one that did."""
        return os.getpid() == self._pid

    def observe(self, instrument: Instrument, read: Callable[[], Iterable[Reading]]) -> None:
        """Read a gauge whenever it is asked for; in the parent alone, which has what is read."""
        if self.here:
            self._gauges.append((instrument, read))

    def before_reading(self, write: Callable[[], None]) -> None:
        """Have what this process has measured written before the files are read."""
        self._writers.append(write)

    def gauges(self) -> dict[Instrument, list[Reading]]:
        """Read the gauges."""
        found: dict[Instrument, list[Reading]] = {}
        for instrument, read in self._gauges:
            found.setdefault(instrument, []).extend(read())
        return found

    def series(self) -> dict[Instrument, dict[tuple[str, ...], Series]]:
        """Add up what was counted so far, by the labels' values in their order."""
        found: dict[Instrument, dict[tuple[str, ...], Series]] = {}
        for family in MultiProcessCollector.merge(self._files(), accumulate=False):
            instrument = _BY_NAME[family.name]
            of_labels = found.setdefault(instrument, {})
            for sample in family.samples:
                series = of_labels.setdefault(_values(instrument, sample.labels), Series())
                if sample.name.endswith("_bucket"):
                    series.buckets[float(sample.labels["le"])] = sample.value
                else:
                    series.total = sample.value
        return found

    def families(self) -> Iterator[Any]:
        """Give all as Prometheus's client writes it."""
        yield from MultiProcessCollector.merge(self._files())

    def _files(self) -> list[str]:
        for write in self._writers:
            write()
        return [str(path) for path in self.folder.glob("*.db")]

    def remove(self) -> None:
        """Remove the files, in the process that made them."""
        if self.here:
            shutil.rmtree(self.folder, ignore_errors=True)


class CountingMeter(Meter):
    """Counts for one process.

    In memory first, and in the files whenever somebody calls `write`: writing costs several times
    what counting does.
    """

    def __init__(self, counts: Counts) -> None:
        """Begin this process's files."""
        self._counts = counts
        os.environ[FOLDER] = str(counts.folder)
        # A class of this meter's own: the library's has one lock, which the parent may have held
        # at the fork. The first value of a kind opens its file.
        self._value_class = values.MultiProcessValue()
        self._lock = threading.Lock()
        self._series: dict[Key, _Series] = {}
        self._unwritten: set[_Series] = set()
        self._failing = False
        for each in CATALOGUE:
            if not each.labels and each.kind is not Kind.GAUGE:
                self._begin(each, ())  # so that it is there, at 0
        counts.before_reading(self.write)

    def measure(self, instrument: Instrument, value: float, *labels: str) -> None:
        """See the port."""
        with self._lock:
            series = self._series.get((instrument.name, labels))
            if series is None:
                try:
                    series = self._begin(instrument, labels)
                except OSError as error:
                    self._failed(error)
                    return
            series.add(value)
            self._unwritten.add(series)

    def observe(self, instrument: Instrument, read: Callable[[], Iterable[Reading]]) -> None:
        """See the port."""
        self._counts.observe(instrument, read)

    def write(self) -> None:
        """Write what is counted."""
        with self._lock:
            unwritten, self._unwritten = self._unwritten, set()
            for series in unwritten:
                series.write()

    def _begin(self, instrument: Instrument, labels: tuple[str, ...]) -> _Series:
        kind = _CounterSeries if instrument.kind is Kind.COUNTER else _HistogramSeries
        series = self._series[instrument.name, labels] = kind(self._value_class, instrument, labels)
        return series

    def _failed(self, error: OSError) -> None:
        """Say once that a new series has no place: the disk is full, say; the worker goes on."""
        if not self._failing:
            logger.warning("metrics_not_counted", reason=error.strerror)
        self._failing = True


class _Series(Protocol):
    """A series in this process's file."""

    def add(self, value: float) -> None:
        """Add a value, in memory."""
        ...

    def write(self) -> None:
        """Write what was added."""
        ...


class _CounterSeries(_Series):
    def __init__(self, value: Any, instrument: Instrument, labels: tuple[str, ...]) -> None:
        name = instrument.prometheus_name
        self._total = value(
            "counter",
            name,
            f"{name}_total",
            instrument.prometheus_labels,
            labels,
            instrument.description,
        )
        self._added = 0.0

    def add(self, value: float) -> None:
        self._added += value

    def write(self) -> None:
        added, self._added = self._added, 0.0
        self._total.inc(added)


class _HistogramSeries(_Series):
    def __init__(self, value: Any, instrument: Instrument, labels: tuple[str, ...]) -> None:
        name, text, names = (
            instrument.prometheus_name,
            instrument.description,
            instrument.prometheus_labels,
        )
        self._bounds = instrument.buckets
        self._sum = value("histogram", name, f"{name}_sum", names, labels, text)
        self._counts = [
            value(
                "histogram",
                name,
                f"{name}_bucket",
                (*names, "le"),
                (*labels, floatToGoString(bound)),
                text,
            )
            for bound in (*self._bounds, math.inf)
        ]
        self._added = 0.0
        self._added_to = [0] * len(self._counts)

    def add(self, value: float) -> None:
        self._added += value
        self._added_to[bisect_left(self._bounds, value)] += 1

    def write(self) -> None:
        self._sum.inc(self._added)
        self._added = 0.0
        for at, count in enumerate(self._added_to):
            if count:
                self._counts[at].inc(count)
                self._added_to[at] = 0


_BY_NAME: Final = {each.prometheus_name: each for each in CATALOGUE}


def _values(instrument: Instrument, labels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(labels[name] for name in instrument.prometheus_labels)
