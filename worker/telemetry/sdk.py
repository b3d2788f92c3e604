"""OpenTelemetry's SDK, of one process: who sends, what traces, and what sends spans.

A forked child inherits the SDK of its parent, whose threads start again there: an exporter
therefore sends for the process that made it only, and the child makes an SDK of its own.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final
from urllib.request import getproxies
from uuid import uuid4

import requests
import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
    SpanExportResult,
)

from adapters.aws.client import is_loopback
from worker.telemetry.configuration import ENDPOINT
from worker.telemetry.instruments import SCHEMA_URL

logger = structlog.get_logger(__name__)

SCOPE: Final = "user-worker"
_DEFAULT_ENDPOINT: Final = "http://localhost:4318"


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


def span_sender(exporter: str) -> SpanProcessor:
    """Make what sends spans: to the `console`, or by `otlp` to the endpoint of the variables."""
    return BatchSpanProcessor(OwnSpans(_span_exporter(exporter)))


def check_span_sender(exporter: str) -> None:
    """Make an exporter and close it; raise what the SDK raises for variables it cannot read."""
    _span_exporter(exporter).shutdown()


def _span_exporter(exporter: str) -> SpanExporter:
    if exporter == "console":
        return ConsoleSpanExporter()
    return OTLPSpanExporter(session=session_for("TRACES"))


def session_for(signal: str) -> requests.Session | None:
    """Return a session without a proxy if the collector is on this machine; else `None`.

    The SDK's own session uses HTTP_PROXY for that, unless NO_PROXY says otherwise.
    """
    own = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", "").strip()
    endpoint = own or os.environ.get(ENDPOINT, "").strip() or _DEFAULT_ENDPOINT
    if not (getproxies() and is_loopback(endpoint)):
        return None
    session = requests.Session()
    session.trust_env = False
    return session
