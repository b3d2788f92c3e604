"""Spans of a batch, of each of its commands, and of its commit and publication.

The span of a command continues the producer's trace, and its events propagate it as `traceparent`.
It starts before the commit, because it is stored in the outcome. The span of a batch, in a trace of
the worker's own, is linked to all of them. A command that is not sampled propagates the context
that it came with. Names and attributes follow OpenTelemetry's semantic conventions 1.44.0 where
they exist; none contains personal data. No span has the producer's `tracestate`, which is free text
and would be sent to the collector; the events have it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanKind,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
    use_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from application.disposition import ReceivedMessage
from application.observer import ObservedCommand
from worker.telemetry.metrics import Meter, MetricsObserver

FAILED: Final = frozenset({"later", "dead"})
"""Outcomes that are failures of the worker or the message; a rejection is not a failure."""
_SQS: Final = {"messaging.system": "aws_sqs"}
_W3C: Final = TraceContextTextMapPropagator()


def end_span(span: Span, error: str | None = None) -> None:
    """End a span, as failed if there is an error."""
    if error is not None:
        _fail(span, error)
    span.end()


def _fail(span: Span, error: str) -> None:
    span.set_attribute("error.type", error)
    span.set_status(StatusCode.ERROR)


def _context(traceparent: str) -> Context:
    return _W3C.extract({"traceparent": traceparent})


def _traceparent(span: Span) -> str | None:
    """Return the context to propagate; `None` if the span is not sampled."""
    if not span.get_span_context().trace_flags.sampled:
        return None
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, set_span_in_context(span))
    return carrier["traceparent"]


@contextmanager
def _inside(span: Span) -> Iterator[None]:
    """Make a span current for the block, and end it; an error is recorded by its class.

    The text of an error may contain personal data, so the exception itself is not recorded.
    """
    with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield
        except BaseException as error:
            _fail(span, type(error).__name__)
            raise


class _Spans(threading.local):
    """Spans of the batch that this thread handles."""

    def __init__(self) -> None:
        self.commands: dict[str, Span] = {}
        """Spans of commands, by the `traceparent` in their envelopes."""


class TracingObserver(MetricsObserver):
    """Records the metrics of a worker, and creates spans."""

    def __init__(self, meter: Meter, tracer: Tracer, message_types: Iterable[str]) -> None:
        super().__init__(meter, message_types)
        self._tracer = tracer
        self._spans = _Spans()

    def received(self, queue: str, messages: int, started: int) -> str | None:
        """See `WorkerObserver`."""
        super().received(queue, messages, started)
        attributes: dict[str, str | int] = {
            **_SQS,
            "messaging.operation.name": "receive",
            "messaging.operation.type": "receive",
            "messaging.destination.name": queue,
            "messaging.batch.message_count": messages,
        }
        name, kind = f"receive {queue}", SpanKind.CLIENT
        span = self._tracer.start_span(name, Context(), kind, attributes, start_time=started)
        span.end()
        return _traceparent(span)

    @contextmanager
    def batch(self, messages: Sequence[ReceivedMessage]) -> Iterator[None]:
        """See `WorkerObserver`."""
        self._spans.commands = {}
        try:
            with super().batch(messages), _inside(self._batch_span(messages)):
                yield
        finally:
            for left in self._spans.commands.values():  # a FIFO group is retried as a whole
                left.set_attribute("user_worker.outcome", "later")
                left.end()

    def _batch_span(self, messages: Sequence[ReceivedMessage]) -> Span:
        """Start the span of a batch as a child of one receive, linked to the other receives."""
        receives = {message["trace"]: None for message in messages if "trace" in message}
        if not receives:
            return INVALID_SPAN
        parent, *others = map(_context, receives)
        links = [Link(get_current_span(each).get_span_context()) for each in others]
        attributes: dict[str, str | int] = {**_SQS, "messaging.batch.message_count": len(messages)}
        return self._tracer.start_span("handle batch", parent, attributes=attributes, links=links)

    def command_parsed(self, message: ReceivedMessage, command: ObservedCommand) -> str | None:
        """See `WorkerObserver`."""
        producer = command.traceparent  # valid: the parser omits an invalid one
        batch = get_current_span()
        span = self._tracer.start_span(
            f"process {self._name(command.type)}",
            Context() if producer is None else _context(producer),
            SpanKind.CONSUMER,
            {
                **_SQS,
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.message.id": message["message_id"],
                "user_worker.command.id": command.command_id,
                "user_worker.receives": message["receives"],
            },
            [Link(batch.get_span_context())] if batch.is_recording() else (),
        )
        carried = _traceparent(span)
        if carried is None:
            return producer
        batch.add_link(span.get_span_context())
        self._spans.commands[carried] = span
        return carried

    def command_finished(
        self,
        message: ReceivedMessage,
        command: ObservedCommand,
        outcome: str,
        code: str | None,
        *,
        seconds: float,
    ) -> None:
        """See `WorkerObserver`."""
        super().command_finished(message, command, outcome, code, seconds=seconds)
        span = self._spans.commands.pop(command.traceparent or "", None)
        if span is None:
            return
        span.set_attribute("user_worker.outcome", outcome)
        if code is not None:
            span.set_attribute("user_worker.code", code)
        end_span(span, (code or outcome) if outcome in FAILED else None)

    def committing(self, changes: int) -> AbstractContextManager[None]:
        """See `WorkerObserver`."""
        return self._step("commit", "db.operation.batch.size", changes)

    def committed(self, conflicts: int, failures: int) -> None:
        """See `WorkerObserver`."""
        span = get_current_span()
        span.set_attribute("user_worker.conflicts", conflicts)
        span.set_attribute("user_worker.failures", failures)

    def publishing(self, events: int) -> AbstractContextManager[None]:
        """See `WorkerObserver`."""
        return self._step("publish", "messaging.batch.message_count", events)

    @contextmanager
    def _step(self, name: str, count: str, size: int) -> Iterator[None]:
        """Create the span of a step of a sampled batch or of the relay."""
        if self._commands.in_batch and not get_current_span().is_recording():
            yield
            return
        with _inside(self._tracer.start_span(name, attributes={count: size})):
            yield
