"""Observe calls to AWS; `adapters.aws.call_observer` reports them to this observer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from opentelemetry.trace import Span, SpanKind, Tracer, get_current_span

from worker.telemetry import instruments
from worker.telemetry.metrics import Meter
from worker.telemetry.tracing import end_span

_SYSTEMS: Final = {"sqs": "aws_sqs", "sns": "aws.sns", "dynamodb": "aws.dynamodb"}


class _Begun(NamedTuple):
    service: str
    operation: str
    at: float
    span: Span | None


class Calls:
    """Measures calls, and traces those of a traced batch or relay."""

    def __init__(self, meter: Meter, tracer: Tracer) -> None:
        self._meter = meter
        self._tracer = tracer

    def begin(self, service: str, operation: str, target: Callable[[], str]) -> _Begun:
        """Observe the start of a call."""
        span = None
        if get_current_span().is_recording():
            span = self._begin_span(service, operation, target())
        return _Begun(service, operation, time.perf_counter(), span)

    def _begin_span(self, service: str, operation: str, target: str) -> Span:
        attributes = (
            {
                "db.system.name": _SYSTEMS[service],
                "db.operation.name": operation,
                "db.collection.name": target,
            }
            if service == "dynamodb"
            else {
                "messaging.system": _SYSTEMS[service],
                "messaging.operation.name": operation,
                "messaging.operation.type": "send",
                "messaging.destination.name": target,
            }
        )
        name = f"{operation} {target}"
        return self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)

    def end(self, begun: _Begun, error: str | None, units: tuple[float, float]) -> None:
        """Observe the end of a call."""
        service, operation, at, span = begun
        seconds = time.perf_counter() - at
        is_store = service == "dynamodb"
        duration = instruments.STORE_CALLS if is_store else instruments.MESSAGING_CALLS
        self._meter.measure(duration, seconds, _SYSTEMS[service], operation, error or "")
        for amount, unit in zip(units, ("read", "write"), strict=True):
            if amount:
                self._meter.measure(instruments.CAPACITY, amount, operation, unit)
        if span is not None:
            end_span(span, error)

    def failed_try(self, service: str, operation: str, error: str, *, throttled: bool) -> None:
        """Observe a failed attempt."""
        self._meter.measure(instruments.FAILED_TRIES, 1, service, operation, error)
        if throttled:
            self._meter.measure(instruments.THROTTLES, 1, service, operation)
