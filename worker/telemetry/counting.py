"""Counts, in files: each process of a worker in one of its own, and the parent adds them up.

The files are those of Prometheus's client library, in its multiprocess mode. What a child counted
outlives it, a child is asked for nothing, and counting costs a fifth of what OpenTelemetry's SDK
takes for it. Whoever fetches them, or has them sent, gets one sum a worker.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector

from worker.telemetry.configuration import TelemetryError
from worker.telemetry.instruments import CATALOGUE, Instrument, Kind
from worker.telemetry.port import Meter, Reading

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Where the client library looks for the folder of the files."""


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
        return [str(path) for path in self.folder.glob("*.db")]

    def remove(self) -> None:
        """Remove the files, in the process that made them."""
        if self.here:
            shutil.rmtree(self.folder, ignore_errors=True)


class CountingMeter(Meter):
    """Counts for one process."""

    def __init__(self, counts: Counts) -> None:
        """Begin this process's files."""
        self._counts = counts
        os.environ[FOLDER] = str(counts.folder)
        # A class of this meter's own: the library's has one lock, which the parent may have held
        # at the fork. A metric without labels opens the file of its kind at once.
        values.ValueClass = values.MultiProcessValue()
        registry = CollectorRegistry()  # of nobody: the files are what is read
        self._families: dict[str, Any] = {}
        for each in CATALOGUE:
            name, text, labels = each.prometheus_name, each.description, each.prometheus_labels
            if each.kind is Kind.COUNTER:
                self._families[each.name] = Counter(name, text, labels, registry=registry)
            elif each.kind is Kind.HISTOGRAM:
                self._families[each.name] = Histogram(
                    name, text, labels, registry=registry, buckets=each.buckets
                )
        self._children: dict[tuple[str, tuple[str, ...]], Callable[[float], None]] = {}

    def measure(self, instrument: Instrument, value: float, *labels: str) -> None:
        """See the port."""
        key = (instrument.name, labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._child(instrument, labels)
        child(value)

    def _child(self, instrument: Instrument, labels: tuple[str, ...]) -> Callable[[float], None]:
        family = self._families[instrument.name]
        of_labels = family.labels(*labels) if labels else family
        measure: Callable[[float], None] = (
            of_labels.inc if instrument.kind is Kind.COUNTER else of_labels.observe
        )
        return measure

    def observe(self, instrument: Instrument, read: Callable[[], Iterable[Reading]]) -> None:
        """See the port."""
        self._counts.observe(instrument, read)


_BY_NAME: Final = {each.prometheus_name: each for each in CATALOGUE}


def _values(instrument: Instrument, labels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(labels[name] for name in instrument.prometheus_labels)
