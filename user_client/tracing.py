"""The caller's trace, if OpenTelemetry is in use; it is not a dependency."""

from __future__ import annotations

import importlib
import sys
from typing import NamedTuple

_API = "opentelemetry.trace"


class TraceContext(NamedTuple):
    """W3C Trace Context, https://www.w3.org/TR/trace-context/."""

    traceparent: str | None = None
    tracestate: str | None = None


def current_trace() -> TraceContext:
    """Return the current span's context; empty if no span is current.

    A process that never imported OpenTelemetry has no span, so it is not imported here either.
    """
    if _API not in sys.modules:
        return TraceContext()
    module = importlib.import_module(f"{_API}.propagation.tracecontext")
    carrier: dict[str, str] = {}
    module.TraceContextTextMapPropagator().inject(carrier)
    return TraceContext(carrier.get("traceparent"), carrier.get("tracestate"))
