"""Spans: of a batch, of each of its commands, of its commit and publication, and of AWS calls.

A command's span continues the producer's trace and is what its events carry on as `traceparent`;
it has to begin before the commit, as the stored outcome keeps it. The batch's span, in a trace of
the worker's own, is linked with all of them. What is not sampled makes no span and changes
nothing: it carries on the context that it came with. Names and attributes are those of
OpenTelemetry's semantic conventions 1.44.0 where they have one, and none is of a person.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import Link, SpanKind

from application.disposition import ReceivedMessage
from application.pending_command import PendingCommand
from domain.commands import CommandEnvelope
from worker.telemetry.names import short_name
from worker.telemetry.sampling import Sampling
from worker.telemetry.spans import Attributes, Span, Spans, remote

FAILED: Final = frozenset({"later", "dead"})
"""Outcomes that are failures of the worker or the message; a rejection is an answer."""
SYSTEMS: Final = {"sqs": "aws_sqs", "sns": "aws.sns"}


@dataclass(slots=True)
class _BatchSpans:
    """The spans of the batch that a thread handles."""

    span: Span | None
    """None where the batch is not sampled."""
    commands: dict[str, Span] = field(default_factory=dict)
    """By the traceparent that their envelopes carry on."""


class _Current(threading.local):
    batch: _BatchSpans | None = None
    span: Span | None = None
    """The innermost of those that calls to AWS are made in."""


class Tracing:
    """Makes the spans of one process."""

    def __init__(self, sampling: Sampling, processor: SpanProcessor) -> None:
        """Make those that `sampling` takes, and give them to a processor."""
        self._spans = Spans(sampling, processor)
        self._current = _Current()

    def received(self, queue: str, messages: int, started: int) -> str | None:
        """Tell of a receive that began at `started`, in ns since the epoch; give its context."""
        trace_id = self._spans.new_trace()
        if trace_id is None:
            return None
        attributes: Attributes = {
            "messaging.system": SYSTEMS["sqs"],
            "messaging.operation.name": "receive",
            "messaging.operation.type": "receive",
            "messaging.destination.name": queue,
            "messaging.batch.message_count": messages,
        }
        span = self._spans.root(trace_id, f"receive {queue}", SpanKind.CLIENT, attributes)
        span.started = started
        self._spans.end(span)
        return span.traceparent

    @contextmanager
    def batch(self, messages: Sequence[ReceivedMessage]) -> Iterator[None]:
        """Have a span about the handling of a batch, if a receive that brought it has one."""
        span = self._batch_span(messages)
        self._current.batch = spans = _BatchSpans(span)
        try:
            with self._within(span):
                yield
        finally:
            self._current.batch = None
            for left in spans.commands.values():  # of a FIFO group that comes back as a whole
                left.attributes["user_worker.outcome"] = "later"
                self._spans.end(left)

    def _batch_span(self, messages: Sequence[ReceivedMessage]) -> Span | None:
        """Begin a batch's span after one receive, linked with the others."""
        receives = {message["trace"]: 0 for message in messages if "trace" in message}
        if not receives:
            return None
        attributes: Attributes = {
            "messaging.system": SYSTEMS["sqs"],
            "messaging.batch.message_count": len(messages),
        }
        parent, *others = map(remote, receives)
        span = self._spans.child(parent, "handle batch", SpanKind.INTERNAL, attributes)
        span.links += map(Link, others)
        return span

    @contextmanager
    def _within(self, span: Span | None) -> Iterator[None]:
        """Have a span about what this thread does, and end it; calls to AWS are its children."""
        if span is None:
            yield
            return
        around, self._current.span = self._current.span, span
        error = None
        try:
            yield
        except BaseException as raised:
            error = type(raised).__name__
            raise
        finally:
            self._current.span = around
            self._spans.end(span, error)

    def command(self, message: ReceivedMessage, envelope: CommandEnvelope) -> CommandEnvelope:
        """Begin the span of a command, and give the envelope with its context to carry on."""
        spans = self._current.batch
        if spans is None or (span := self._command_span(message, envelope)) is None:
            return envelope
        if batch := spans.span:
            span.links.append(Link(batch.context))
            batch.links.append(Link(span.context))
        carried = span.traceparent
        spans.commands[carried] = span
        return replace(envelope, traceparent=carried)

    def _command_span(self, message: ReceivedMessage, envelope: CommandEnvelope) -> Span | None:
        """Go on with the producer's trace, or begin one, where it is sampled."""
        producer = envelope.traceparent  # well formed, as the parser says
        trace_id = self._spans.new_trace() if producer is None else self._spans.goes_on(producer)
        if trace_id is None:
            return None
        attributes: Attributes = {
            "messaging.system": SYSTEMS["sqs"],
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.message.id": message["message_id"],
            "user_worker.command.id": envelope.command_id,
            "user_worker.receives": message["receives"],
        }
        name = f"process {short_name(envelope.type)}"
        if producer is None:
            return self._spans.root(trace_id, name, SpanKind.CONSUMER, attributes)
        parent = remote(producer, envelope.tracestate)
        return self._spans.child(parent, name, SpanKind.CONSUMER, attributes)

    def command_finished(self, pending: PendingCommand, outcome: str, code: str | None) -> None:
        """End the span of a command."""
        spans = self._current.batch
        carried = pending.envelope.traceparent
        if spans is None or carried is None or (span := spans.commands.pop(carried, None)) is None:
            return
        span.attributes["user_worker.outcome"] = outcome
        if code is not None:
            span.attributes["user_worker.code"] = code
        self._spans.end(span, (code or outcome) if outcome in FAILED else None)

    @contextmanager
    def step(self, name: str, count: str, size: int) -> Iterator[Attributes]:
        """Have a span about a step of the batch, or of the relay, with how many it was about.

        Gives its attributes, to be added to.
        """
        attributes: Attributes = {count: size}
        around = self._current.span
        span = None
        if around is not None:
            span = self._spans.child(around.context, name, SpanKind.INTERNAL, attributes)
        elif self._current.batch is None and (trace_id := self._spans.new_trace()):
            span = self._spans.root(trace_id, name, SpanKind.INTERNAL, attributes)
        with self._within(span):
            yield attributes

    def call(self, service: str, operation: str, target_of: Callable[[], str]) -> Span | None:
        """Begin the span of a call to AWS, of those that a batch or the relay makes."""
        around = self._current.span
        if around is None:
            return None
        target = target_of()
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
        name = f"{operation} {target}"
        return self._spans.child(around.context, name, SpanKind.CLIENT, attributes)

    def end_call(self, span: Span, error: str | None) -> None:
        """End the span of a call."""
        self._spans.end(span, error)

    def stop(self) -> None:
        """Send what is left."""
        self._spans.stop()
