"""Calls to AWS, as `adapters.aws.call_observer.CallObserver` tells of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from worker.telemetry import instruments
from worker.telemetry.port import Meter

if TYPE_CHECKING:
    from worker.telemetry.spans import Span
    from worker.telemetry.tracing import Tracing

_SYSTEMS = {"sqs": "aws_sqs", "sns": "aws.sns", "dynamodb": "aws.dynamodb"}


class _Begun(NamedTuple):
    service: str
    operation: str
    at: float
    span: Span | None


class Calls:
    """Measures and traces calls."""

    def __init__(self, meter: Meter, tracing: Tracing | None) -> None:
        """Measure with a meter and trace with `tracing`, if there is one."""
        self._meter = meter
        self._tracing = tracing

    def begin(self, service: str, operation: str, target: Callable[[], str]) -> _Begun:
        """Take in that a call begins."""
        span = None if self._tracing is None else self._tracing.call(service, operation, target)
        return _Begun(service, operation, time.perf_counter(), span)

    def end(self, begun: _Begun, error: str | None, units: tuple[float, float]) -> None:
        """Take in that a call ended."""
        service, operation, at, span = begun
        seconds = time.perf_counter() - at
        is_store = service == "dynamodb"
        duration = instruments.STORE_CALLS if is_store else instruments.MESSAGING_CALLS
        self._meter.measure(duration, seconds, _SYSTEMS[service], operation, error or "")
        for amount, unit in zip(units, ("read", "write"), strict=True):
            if amount:
                self._meter.measure(instruments.CAPACITY, amount, operation, unit)
        if span is not None and self._tracing is not None:
            self._tracing.end_call(span, error)

    def failed_try(self, service: str, operation: str, error: str, *, throttled: bool) -> None:
        """Take in that a try failed."""
        self._meter.measure(instruments.FAILED_TRIES, 1, service, operation, error)
        if throttled:
            self._meter.measure(instruments.THROTTLES, 1, service, operation)
