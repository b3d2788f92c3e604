"""OpenTelemetry's SDK, of one process: what measures, what traces, and what sends it.

A forked child inherits the SDK of its parent, whose threads start again there: an exporter
therefore sends for the process that made it only, and the child makes an SDK of its own.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final
from uuid import uuid4

import structlog
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    MetricExporter,
    MetricExportResult,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
    SpanExportResult,
)

from worker.telemetry.instruments import CATALOGUE, SCHEMA_URL, Instrument, Kind
from worker.telemetry.port import Meter, Reading

logger = structlog.get_logger(__name__)

SCOPE: Final = "user-worker"


def resource() -> Resource:
    """Say who sends: `service.name`, `service.version`, and an instance id for each process."""
    given = Resource.create()  # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, the former first
    name = str(given.attributes.get("service.name", ""))
    instance = given.attributes.get("service.instance.id")
    own: dict[str, str | int] = {
        "service.name": SCOPE if name.startswith("unknown_service") else name,
        "service.version": str(given.attributes.get("service.version") or _version()),
        "service.instance.id": f"{instance or uuid4()}-{os.getpid()}",
        "process.pid": os.getpid(),
    }
    return given.merge(Resource(own, SCHEMA_URL))


def _version() -> str:
    try:
        return version(SCOPE)
    except PackageNotFoundError:
        return "unknown"


def quieten() -> None:
    """Silence the SDK's own lines: they may hold an endpoint's password, and come at each try."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


class Delivery:
    """What an exporter tells the log: a line when sending begins to fail, and one when it ends."""

    def __init__(self, signal: str) -> None:
        self._signal = signal
        self._pid = os.getpid()
        self._failing = False

    @property
    def elsewhere(self) -> bool:
        """Whether this is a forked child, whose parent's exporter it is."""
        return os.getpid() != self._pid

    def attempt(self, send: Callable[[], Any], success: Any) -> bool:
        """Send; say whether it went well. Raises nothing."""
        try:
            sent, reason = bool(send() == success), "not delivered"
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker goes on
            sent, reason = False, type(error).__name__
        if not sent and not self._failing:
            logger.warning("telemetry_not_sent", signal=self._signal, reason=reason)
        elif sent and self._failing:
            logger.warning("telemetry_sent_again", signal=self._signal)
        self._failing = not sent
        return sent


class OwnSpans(SpanExporter):
    """Sends the spans of the process that made it."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._delivery = Delivery("traces")

    def export(self, spans: Any) -> SpanExportResult:
        """Send spans, or nothing in a child."""
        if self._delivery.elsewhere:
            return SpanExportResult.SUCCESS
        sent = self._delivery.attempt(
            lambda: self._exporter.export(spans), SpanExportResult.SUCCESS
        )
        return SpanExportResult.SUCCESS if sent else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """See the exporter."""
        return self._exporter.force_flush(timeout_millis)


class OwnMetrics(MetricExporter):
    """Sends the metrics of the process that made it."""

    def __init__(self, exporter: MetricExporter) -> None:
        super().__init__(
            preferred_temporality=exporter._preferred_temporality,  # noqa: SLF001 - no other way
            preferred_aggregation=exporter._preferred_aggregation,  # noqa: SLF001 - as above
        )
        self._exporter = exporter
        self._delivery = Delivery("metrics")

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any
    ) -> MetricExportResult:
        """Send metrics, or nothing in a child."""
        if self._delivery.elsewhere:
            return MetricExportResult.SUCCESS
        sent = self._delivery.attempt(
            lambda: self._exporter.export(metrics_data, timeout_millis), MetricExportResult.SUCCESS
        )
        return MetricExportResult.SUCCESS if sent else MetricExportResult.FAILURE

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Close the connection."""
        self._exporter.shutdown(timeout_millis)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """See the exporter."""
        return self._exporter.force_flush(timeout_millis)


def tracer_provider(exporter: str) -> TracerProvider:
    """Make what traces; the sampler, limits and endpoint are those of the OTEL_* variables."""
    chosen = ConsoleSpanExporter() if exporter == "console" else OTLPSpanExporter()
    provider = TracerProvider(resource=resource(), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OwnSpans(chosen)))
    return provider


def metric_reader(exporter: str) -> MetricReader:
    """Make what sends metrics every OTEL_METRIC_EXPORT_INTERVAL."""
    chosen = ConsoleMetricExporter() if exporter == "console" else OTLPMetricExporter()
    return PeriodicExportingMetricReader(OwnMetrics(chosen))


class SdkMeter(Meter):
    """Measures with OpenTelemetry's SDK."""

    def __init__(self, reader: MetricReader) -> None:
        """Send, or give, what is measured by `reader`."""
        self._provider = MeterProvider(
            metric_readers=[reader],
            resource=resource(),
            exemplar_filter=AlwaysOffExemplarFilter(),  # a tenth of the cost of a measurement
            shutdown_on_exit=False,
        )
        self._meter = self._provider.get_meter(SCOPE, schema_url=SCHEMA_URL)
        self._measures: dict[str, Callable[..., None]] = {}
        for each in CATALOGUE:
            if each.kind is Kind.COUNTER:
                counter = self._meter.create_counter(each.name, each.unit, each.description)
                self._measures[each.name] = counter.add
            elif each.kind is Kind.HISTOGRAM:
                histogram = self._meter.create_histogram(
                    each.name,
                    each.unit,
                    each.description,
                    explicit_bucket_boundaries_advisory=each.buckets,
                )
                self._measures[each.name] = histogram.record
        self._attributes: dict[tuple[str, tuple[str, ...]], dict[str, str]] = {}

    def measure(self, instrument: Instrument, value: float, *labels: str) -> None:
        """See the port; a label without a value is left out."""
        key = (instrument.name, labels)
        attributes = self._attributes.get(key)
        if attributes is None:
            attributes = self._attributes[key] = named(instrument, labels)
        self._measures[instrument.name](value, attributes)

    def observe(self, instrument: Instrument, read: Callable[[], Iterable[Reading]]) -> None:
        """See the port."""

        def observations(_: CallbackOptions) -> Iterator[Observation]:
            for value, labels in read():
                yield Observation(value, named(instrument, labels))

        self._meter.create_observable_gauge(
            instrument.name, [observations], instrument.unit, instrument.description
        )

    def stop(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def named(instrument: Instrument, labels: tuple[str, ...]) -> dict[str, str]:
    """Give attributes by name; a label without a value is left out."""
    pairs = zip(instrument.labels, labels, strict=True)
    return {name: value for name, value in pairs if value}
