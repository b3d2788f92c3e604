"""OpenTelemetry collector for tests, which keeps the spans and metrics that it receives."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """Listens on its own port while the `with` block runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._traces: list[Any] = []
        self._metrics: list[Any] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector._take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> Self:
        """Start listening."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Return the value for OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def _take(self, path: str, body: bytes) -> None:
        with self._lock:
            if path == "/v1/traces":
                self._traces += ExportTraceServiceRequest.FromString(body).resource_spans
            elif path == "/v1/metrics":
                self._metrics += ExportMetricsServiceRequest.FromString(body).resource_metrics

    def spans(self, name: str) -> list[Any]:
        """Return the spans of this name received so far."""
        with self._lock:
            return [
                span
                for resource in self._traces
                for scope in resource.scope_spans
                for span in scope.spans
                if span.name == name
            ]

    def metric(self, name: str) -> Any:
        """Return the last received version of a metric."""
        with self._lock:
            *_, found = (
                metric
                for resource in self._metrics
                for scope in resource.scope_metrics
                for metric in scope.metrics
                if metric.name == name
            )
            return found

    def instances(self) -> set[str]:
        """Return the `service.instance.id` of every sender."""
        with self._lock:
            return {
                attribute.value.string_value
                for resource in (*self._traces, *self._metrics)
                for attribute in resource.resource.attributes
                if attribute.key == "service.instance.id"
            }

    def everything(self) -> str:
        """Return everything received, as text."""
        with self._lock:
            return "\n".join(str(each) for each in (*self._traces, *self._metrics))
