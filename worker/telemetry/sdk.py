"""OpenTelemetry's SDK for one process: its providers, their exporters, and the resource.

A forked child inherits the SDK of its parent, whose threads start again in the child. Therefore an
exporter sends only in the process that created it, and the child creates its own SDK.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final
from urllib.request import getproxies
from uuid import uuid4

import requests
import structlog
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
    SpanExportResult,
)

from adapters.aws.client import is_loopback
from worker.telemetry.configuration import ENDPOINT, TEMPORALITY
from worker.telemetry.instruments import SCHEMA_URL, SCOPE

logger = structlog.get_logger(__name__)

_DEFAULT_ENDPOINT: Final = "http://localhost:4318"
KEPT_INTERVALS: Final = 60
"""Number of intervals of delta counts to keep while a collector is unavailable."""


def quieten() -> None:
    """Silence the SDK's log lines, which repeat at each attempt and may contain a password."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


def tracer_provider(exporter: str) -> TracerProvider:
    """Create the provider that samples, batches and sends spans, as configured by the variables."""
    provider = TracerProvider(resource=resource(), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(send_spans_by(_span_exporter(exporter))))
    return provider


def meter_provider(exporter: str) -> MeterProvider:
    """Create the provider that sends metrics every OTEL_METRIC_EXPORT_INTERVAL, and at its end."""
    reader = PeriodicExportingMetricReader(send_metrics_by(_metric_exporter(exporter)))
    return MeterProvider([reader], resource(), AlwaysOffExemplarFilter(), shutdown_on_exit=False)


def check(traces: str, metrics: str) -> None:
    """Create exporters and close them, to raise the SDK's error for variables it cannot read."""
    if traces != "none":
        _span_exporter(traces).shutdown()
    if metrics not in {"none", "prometheus"}:
        _metric_exporter(metrics).shutdown()


def _span_exporter(name: str) -> SpanExporter:
    if name == "console":
        return ConsoleSpanExporter()
    return OTLPSpanExporter(session=session_for("TRACES"))


def _metric_exporter(name: str) -> MetricExporter:
    if name == "console":
        return ConsoleMetricExporter()
    return OTLPMetricExporter(session=session_for("METRICS"))


class _Delivery:
    """Logs when sending starts to fail, and when it succeeds again."""

    def __init__(self, signal: str) -> None:
        self._signal = signal
        self._pid = os.getpid()
        self._failing = False

    @property
    def inherited(self) -> bool:
        """Whether this is a forked child; then only the parent sends."""
        return os.getpid() != self._pid

    def attempt(self, send: Callable[[], Any], success: object) -> bool:
        """Send, and return True on success. Never raises."""
        try:
            sent, reason = send() is success, "not delivered"
        except Exception as error:  # noqa: BLE001 - no error of telemetry may stop the worker
            sent, reason = False, type(error).__name__
        if not sent and not self._failing:
            logger.warning("telemetry_not_sent", signal=self._signal, reason=reason)
        elif sent and self._failing:
            logger.warning("telemetry_sent_again", signal=self._signal)
        self._failing = not sent
        return sent


def send_spans_by(exporter: SpanExporter) -> SpanExporter:
    """Change an exporter to send spans only in this process, and to log failures; return it."""
    delivery, send = _Delivery("traces"), exporter.export

    def export(spans: Sequence[ReadableSpan]) -> SpanExportResult:
        success = SpanExportResult.SUCCESS
        if delivery.inherited or delivery.attempt(lambda: send(spans), success):
            return success
        return SpanExportResult.FAILURE

    exporter.export = export  # type: ignore[method-assign]
    return exporter


def send_metrics_by(exporter: MetricExporter) -> MetricExporter:
    """Change an exporter to send metrics only in this process, and to log failures; return it.

    Unsent totals are replaced by later ones; unsent increments are kept and sent later.
    """
    delivery, send = _Delivery("metrics"), exporter.export
    delta = os.environ.get(TEMPORALITY, "").strip().lower() in {"delta", "lowmemory"}
    unsent: deque[MetricsData] = deque(maxlen=KEPT_INTERVALS if delta else 1)

    def export(
        metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any
    ) -> MetricExportResult:
        success = MetricExportResult.SUCCESS
        if delivery.inherited:
            return success
        unsent.append(metrics_data)
        while unsent:
            if not delivery.attempt(lambda: send(unsent[0], timeout_millis), success):
                return MetricExportResult.FAILURE
            unsent.popleft()
        return success

    exporter.export = export  # type: ignore[method-assign]
    return exporter


def session_for(signal: str) -> requests.Session | None:
    """Return a session without a proxy if the collector is on this machine; else `None`.

    The SDK's own session would use HTTP_PROXY for it, unless NO_PROXY excludes this machine.
    """
    own = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", "").strip()
    endpoint = own or os.environ.get(ENDPOINT, "").strip() or _DEFAULT_ENDPOINT
    if not (getproxies() and is_loopback(endpoint)):
        return None
    session = requests.Session()
    session.trust_env = False
    return session


def resource() -> Resource:
    """Return the resource: `service.name`, `service.version`, and an instance id per process."""
    given = Resource.create()  # OTEL_SERVICE_NAME takes precedence over OTEL_RESOURCE_ATTRIBUTES
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
