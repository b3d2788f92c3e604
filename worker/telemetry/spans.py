"""Spans from their beginning until the SDK's processor takes them, which sends them.

The SDK's own tracer does it in three times the processor time: it copies and checks each attribute,
takes a lock for each change, and asks its sampler, its limits and its metrics for each span.
"""

from __future__ import annotations

import random
import time
from typing import Final, TypeAlias

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from worker.telemetry.instruments import SCHEMA_URL
from worker.telemetry.sampling import Sampling
from worker.telemetry.sdk import SCOPE, resource

Attributes: TypeAlias = dict[str, str | int]
_FLAGS: Final = TraceFlags(TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID)
_OK, _ERROR = Status(StatusCode.UNSET), Status(StatusCode.ERROR)
_TRACE_ID, _SPAN_ID, _FLAGS_AT = slice(3, 35), slice(36, 52), slice(53, 55)
"""Where a traceparent has them."""


class Span:
    """A span that is recorded; `attributes` may be added to until it ends."""

    __slots__ = ("attributes", "context", "kind", "links", "name", "parent", "started")

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        context: SpanContext,
        parent: SpanContext | None = None,
    ) -> None:
        """Begin now."""
        self.name = name
        self.kind = kind
        self.attributes = attributes
        self.context = context
        self.parent = parent
        self.links: list[Link] = []
        self.started = time.time_ns()

    @property
    def traceparent(self) -> str:
        """The context to carry on, as W3C Trace Context has it."""
        return f"00-{self.context.trace_id:032x}-{self.context.span_id:016x}-01"


class Spans:
    """Begins spans of what is sampled, and hands them to a processor when they end."""

    def __init__(self, sampling: Sampling, processor: SpanProcessor) -> None:
        """Begin those that `sampling` takes."""
        self._sampling = sampling
        self._processor = processor
        self._resource = resource()
        self._scope = InstrumentationScope(SCOPE, schema_url=SCHEMA_URL)

    def new_trace(self) -> int | None:
        """Give the id of a trace that begins here, if it is sampled."""
        trace_id = random.getrandbits(128) or 1
        return trace_id if self._sampling.takes(trace_id) else None

    @staticmethod
    def root(trace_id: int, name: str, kind: SpanKind, attributes: Attributes) -> Span:
        """Begin the first span of a trace."""
        return Span(name, kind, attributes, _context(trace_id))

    @staticmethod
    def child(parent: SpanContext, name: str, kind: SpanKind, attributes: Attributes) -> Span:
        """Begin a span below one that is recorded."""
        own = _context(parent.trace_id, parent.trace_state)
        return Span(name, kind, attributes, own, parent)

    def goes_on(self, traceparent: str) -> int | None:
        """Give the id of somebody else's trace, if it is sampled; its context is well formed."""
        trace_id = int(traceparent[_TRACE_ID], 16)
        sampled = int(traceparent[_FLAGS_AT], 16) & TraceFlags.SAMPLED
        return trace_id if self._sampling.takes(trace_id, parent=bool(sampled)) else None

    def end(self, span: Span, error: str | None = None) -> None:
        """End a span, perhaps by an error."""
        if error is not None:
            span.attributes["error.type"] = error
        self._processor.on_end(
            ReadableSpan(
                span.name,
                span.context,
                span.parent,
                self._resource,
                span.attributes,
                links=span.links,
                kind=span.kind,
                status=_OK if error is None else _ERROR,
                start_time=span.started,
                end_time=time.time_ns(),
                instrumentation_scope=self._scope,
            )
        )

    def stop(self) -> None:
        """Send what is left."""
        self._processor.shutdown()


def _context(trace_id: int, state: TraceState | None = None) -> SpanContext:
    span_id = random.getrandbits(64) or 1
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=_FLAGS, trace_state=state)


def remote(traceparent: str, tracestate: str | None = None) -> SpanContext:
    """Read a context that is well formed."""
    return SpanContext(
        int(traceparent[_TRACE_ID], 16),
        int(traceparent[_SPAN_ID], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(traceparent[_FLAGS_AT], 16)),
        trace_state=None if tracestate is None else TraceState.from_header([tracestate]),
    )
