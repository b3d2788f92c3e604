"""The trace context of the caller, if the process uses OpenTelemetry."""

from __future__ import annotations

import importlib
import sys
from typing import NamedTuple


class TraceContext(NamedTuple):
    """W3C Trace Context, https://www.w3.org/TR/trace-context/."""

    traceparent: str | None = None
    tracestate: str | None = None


def current_trace() -> TraceContext:
    """Return the context of the current span; empty if there is no span.

    OpenTelemetry is not imported: a process that has not imported it has no span.
    """
    if "opentelemetry.trace" not in sys.modules:
        return TraceContext()
    module = importlib.import_module("opentelemetry.trace.propagation.tracecontext")
    carrier: dict[str, str] = {}
    module.TraceContextTextMapPropagator().inject(carrier)
    return TraceContext(carrier.get("traceparent"), carrier.get("tracestate"))
