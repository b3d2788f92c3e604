"""Sends what a worker has counted, as OpenTelemetry's metrics: from the parent, for all."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ConsoleMetricExporter,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from worker.telemetry.configuration import TEMPORALITY
from worker.telemetry.counting import Counts, Series
from worker.telemetry.instruments import CATALOGUE, SCHEMA_URL, Instrument, Kind
from worker.telemetry.sdk import SCOPE, Delivery, resource, session_for

INTERVAL, TIMEOUT = "OTEL_METRIC_EXPORT_INTERVAL", "OTEL_METRIC_EXPORT_TIMEOUT"
DEFAULTS_MS: Final = {INTERVAL: 60_000.0, TIMEOUT: 30_000.0}
"""OpenTelemetry's own."""

Found: TypeAlias = dict[Instrument, dict[tuple[str, ...], Series]]


def exporter_of(name: str) -> MetricExporter:
    """Make what metrics are sent with: `console`, or `otlp` to the endpoint of the variables."""
    return (
        ConsoleMetricExporter()
        if name == "console"
        else OTLPMetricExporter(session=session_for("METRICS"))
    )


class MetricSender:
    """Sends metrics every OTEL_METRIC_EXPORT_INTERVAL, and at its end."""

    def __init__(self, counts: Counts, exporter: MetricExporter) -> None:
        """Send from now on what is counted. The thread does not live on in a forked child."""
        delta = os.environ.get(TEMPORALITY, "").strip().lower() in {"delta", "lowmemory"}
        self._report = Report(counts, delta=delta)
        self._exporter = exporter
        self._delivery = Delivery("metrics")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry metrics", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        seconds = _milliseconds(INTERVAL) / 1000
        while not self._ended.wait(seconds):
            self._send()
        self._send()
        self._exporter.shutdown()

    def _send(self) -> None:
        if self._delivery.attempt(
            lambda: self._exporter.export(self._report.take(), _milliseconds(TIMEOUT)),
            MetricExportResult.SUCCESS,
        ):
            self._report.taken()

    def leave(self) -> None:
        """Do nothing in a child: the thread is the parent's."""

    def stop(self) -> None:
        """Send what is left."""
        self._ended.set()
        self._thread.join()


def _milliseconds(variable: str) -> float:
    return float(os.environ.get(variable, "").strip() or DEFAULTS_MS[variable])


class Report:
    """What was counted, as OpenTelemetry has it: since the start, or since what was taken last."""

    def __init__(self, counts: Counts, *, delta: bool = False) -> None:
        """Report counts: with `delta`, each time what has been added."""
        self._counts = counts
        self._delta = delta
        self._resource = resource()
        self._since = self._now = time.time_ns()
        self._found: Found = {}
        self._told: Found = {}

    def take(self) -> MetricsData:
        """Give the metrics of now."""
        self._now = now = time.time_ns()
        self._found = self._counts.series()
        metrics = [*self._counted(now), *self._gauges(now)]
        scope = ScopeMetrics(
            InstrumentationScope(SCOPE, schema_url=SCHEMA_URL), metrics, SCHEMA_URL
        )
        return MetricsData([ResourceMetrics(self._resource, [scope], SCHEMA_URL)])

    def taken(self) -> None:
        """Take in that it has arrived: with `delta`, what comes is told from here on."""
        if self._delta:
            self._since, self._told = self._now, self._found

    def _counted(self, now: int) -> Iterator[Metric]:
        temporality = (
            AggregationTemporality.DELTA if self._delta else AggregationTemporality.CUMULATIVE
        )
        for instrument in CATALOGUE:
            points: list[Any] = [
                self._point(instrument, labels, self._added(instrument, labels, series), now)
                for labels, series in self._found.get(instrument, {}).items()
            ]
            if not points:
                continue
            data: Any = (
                Sum(points, temporality, is_monotonic=True)
                if instrument.kind is Kind.COUNTER
                else Histogram(points, temporality)
            )
            yield Metric(instrument.name, instrument.description, instrument.unit, data)

    def _added(self, instrument: Instrument, labels: tuple[str, ...], series: Series) -> Series:
        """Give what is new of a series: all of it, unless some was told."""
        told = self._told.get(instrument, {}).get(labels)
        if told is None:
            return series
        buckets = {
            bound: count - told.buckets.get(bound, 0) for bound, count in series.buckets.items()
        }
        return Series(series.total - told.total, buckets)

    def _point(
        self, instrument: Instrument, labels: tuple[str, ...], series: Series, now: int
    ) -> Any:
        attributes = instrument.attributes(labels)
        if instrument.kind is Kind.COUNTER:
            return NumberDataPoint(attributes, self._since, now, series.total)
        counts = [int(series.buckets[bound]) for bound in sorted(series.buckets)]
        unknown: Any = None  # the files have no least and no greatest value
        return HistogramDataPoint(
            attributes,
            self._since,
            now,
            count=sum(counts),
            sum=series.total,
            bucket_counts=counts,
            explicit_bounds=instrument.buckets,
            min=unknown,
            max=unknown,
        )

    def _gauges(self, now: int) -> Iterator[Metric]:
        for instrument, readings in self._counts.gauges().items():
            points = [
                NumberDataPoint(instrument.attributes(labels), now, now, value)
                for value, labels in readings
            ]
            if points:
                yield Metric(
                    instrument.name, instrument.description, instrument.unit, Gauge(points)
                )
