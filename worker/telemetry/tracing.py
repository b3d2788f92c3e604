"""Spans: of a batch, of each of its commands, of its commit and publication, and of AWS calls.

A command's span continues the producer's trace and is what its events carry on as `traceparent`;
it has to begin before the commit, as the stored outcome keeps it. The batch's span, in a trace of
the worker's own, is linked with all of them. What is not sampled makes no span and changes
nothing: it carries on the context that it came with. Names and attributes are those of
OpenTelemetry's semantic conventions 1.44.0 where they have one, and none is of a person.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from opentelemetry import context as contexts
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
    use_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AnyValue

from domain.commands import CommandEnvelope
from worker.settlement import ReceivedMessage
from worker.telemetry.instruments import SCHEMA_URL
from worker.telemetry.names import short_name
from worker.telemetry.sampling import ChosenIds, Sampling
from worker.telemetry.sdk import SCOPE, resource
from worker.work import Work

FAILED: Final = frozenset({"later", "dead"})
"""Outcomes that are failures of the worker or the message; a rejection is an answer."""
Attributes: TypeAlias = dict[str, AnyValue]
SYSTEMS: Final = {"sqs": "aws_sqs", "sns": "aws.sns"}
_PROPAGATOR = TraceContextTextMapPropagator()
_TRACE_ID, _FLAGS = slice(3, 35), slice(53, 55)
"""Where a traceparent has them."""


@dataclass(slots=True)
class _BatchSpans:
    """The spans of the batch that a thread handles."""

    span: Span | None
    """None where the batch is not sampled."""
    commands: dict[str, Span] = field(default_factory=dict)
    """By the traceparent that their envelopes carry on."""


class _Current(threading.local):
    batch: _BatchSpans | None = None


class Tracing:
    """Makes the spans of one process."""

    def __init__(self, sampling: Sampling, *processors: SpanProcessor) -> None:
        """Make those that `sampling` takes, and give them to processors."""
        self._sampling = sampling
        self._ids = ChosenIds()
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # what is not sampled never comes to it
            resource=resource(),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        for processor in processors:
            self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer(SCOPE, schema_url=SCHEMA_URL)
        self._current = _Current()

    def _begins(self) -> bool:
        """Say whether a trace that begins here is sampled; its id is that of the next span."""
        return self._sampling.takes(self._ids.choose())

    def received(self, queue: str, messages: int, started: int) -> str | None:
        """Tell of a receive that began at `started`, in ns since the epoch; give its context."""
        if not self._begins():
            return None
        attributes: Attributes = {
            "messaging.system": SYSTEMS["sqs"],
            "messaging.operation.name": "receive",
            "messaging.operation.type": "receive",
            "messaging.destination.name": queue,
            "messaging.batch.message_count": messages,
        }
        span = self._tracer.start_span(
            f"receive {queue}", contexts.Context(), SpanKind.CLIENT, attributes, start_time=started
        )
        span.end()
        return traceparent(span.get_span_context())

    @contextmanager
    def batch(self, messages: Sequence[ReceivedMessage]) -> Iterator[None]:
        """Have a span about the handling of a batch, if a receive that brought it has one."""
        receives = {message["trace"]: 0 for message in messages if "trace" in message}
        span = self._batch_span([_remote(each) for each in receives], len(messages))
        self._current.batch = spans = _BatchSpans(span)
        try:
            with use_span(span, True, False) if span else nullcontext():  # noqa: FBT003 - hot
                yield
        finally:
            self._current.batch = None
            for left in spans.commands.values():  # of a FIFO group that comes back as a whole
                left.set_attribute("user_worker.outcome", "later")
                left.end()

    def _batch_span(self, receives: Sequence[Span], messages: int) -> Span | None:
        """Begin a batch's span after one receive, linked with the others."""
        if not receives:
            return None
        attributes: Attributes = {
            "messaging.system": SYSTEMS["sqs"],
            "messaging.batch.message_count": messages,
        }
        return self._tracer.start_span(
            "handle batch",
            set_span_in_context(receives[0], contexts.Context()),
            SpanKind.INTERNAL,
            attributes,
            [Link(span.get_span_context()) for span in receives[1:]],
        )

    def command(self, message: ReceivedMessage, envelope: CommandEnvelope) -> CommandEnvelope:
        """Begin the span of a command, and give the envelope with its context to carry on."""
        spans = self._current.batch
        if spans is None or not self._samples(envelope.traceparent):
            return envelope
        batch = spans.span
        span = self._tracer.start_span(
            f"process {short_name(envelope.type)}",
            _parent(envelope),
            SpanKind.CONSUMER,
            _process_attributes(message, envelope),
            () if batch is None else (Link(batch.get_span_context()),),
        )
        own = span.get_span_context()
        if batch is not None:
            batch.add_link(own)
        carried = traceparent(own)
        spans.commands[carried] = span
        state = own.trace_state.to_header() or None
        return replace(envelope, traceparent=carried, tracestate=state)

    def _samples(self, producer: str | None) -> bool:
        """Decide on a command by its producer's context, which is valid if there is one."""
        if producer is None:
            return self._begins()
        sampled = int(producer[_FLAGS], 16) & TraceFlags.SAMPLED
        return self._sampling.takes(int(producer[_TRACE_ID], 16), parent=bool(sampled))

    def settled(self, work: Work, outcome: str, code: str | None) -> None:
        """End the span of a command."""
        spans = self._current.batch
        carried = work.envelope.traceparent
        if spans is None or carried is None or (span := spans.commands.pop(carried, None)) is None:
            return
        span.set_attribute("user_worker.outcome", outcome)
        if code is not None:
            span.set_attribute("user_worker.code", code)
        if outcome in FAILED:
            span.set_attribute("error.type", code or outcome)
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    @contextmanager
    def step(self, name: str, count: str, size: int) -> Iterator[Span]:
        """Have a span about a step of the batch, or of the relay, with how many it was about."""
        spans = self._current.batch
        if not self._begins() if spans is None else spans.span is None:
            yield INVALID_SPAN
            return
        with self._tracer.start_as_current_span(
            name, attributes={count: size}, record_exception=False
        ) as span:
            yield span

    def call(self, service: str, operation: str, target: str) -> Span | None:
        """Begin the span of a call to AWS, of those that a batch makes."""
        if not get_current_span().is_recording():
            return None
        attributes: Attributes = (
            {
                "db.system.name": "aws.dynamodb",
                "db.operation.name": operation,
                "db.collection.name": target,
            }
            if service == "dynamodb"
            else {
                "messaging.system": SYSTEMS[service],
                "messaging.operation.name": operation,
                "messaging.operation.type": "send",
                "messaging.destination.name": target,
            }
        )
        return self._tracer.start_span(
            f"{operation} {target}", kind=SpanKind.CLIENT, attributes=attributes
        )

    def end_call(self, span: Span, error: str | None) -> None:
        """End the span of a call."""
        if error is not None:
            span.set_attribute("error.type", error)
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def stop(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def _process_attributes(message: ReceivedMessage, envelope: CommandEnvelope) -> Attributes:
    return {
        "messaging.system": SYSTEMS["sqs"],
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.message.id": message["message_id"],
        "user_worker.command.id": envelope.command_id,
        "user_worker.receives": message["receives"],
    }


def traceparent(span: SpanContext) -> str:
    """Write a context as W3C Trace Context has it."""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags & 1:02x}"


def _parent(envelope: CommandEnvelope) -> contexts.Context:
    """Give the producer's context; an empty one where it sent none, or none that can be read."""
    if envelope.traceparent is None:
        return contexts.Context()
    carrier = {"traceparent": envelope.traceparent}
    if envelope.tracestate is not None:
        carrier["tracestate"] = envelope.tracestate
    return _PROPAGATOR.extract(carrier, contexts.Context())


def _remote(trace: str) -> Span:
    return get_current_span(_PROPAGATOR.extract({"traceparent": trace}, contexts.Context()))
