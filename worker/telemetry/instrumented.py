"""Watches a worker's parts: each is wrapped by one that measures and traces, and does the same."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

from application.disposition import Dispositions, ReceivedMessage
from application.observer import BatchObserver
from application.outbox import SHARDS, Outbox, OutboxPage, OutboxPosition
from application.pending_command import Parser, PendingCommand
from application.ports import (
    CommitReport,
    EventMessage,
    EventPublisher,
    JobKind,
    OutboxEntry,
    PublishFailure,
    UserChange,
    UserRepository,
)
from worker.telemetry import instruments
from worker.telemetry.calls import Calls
from worker.telemetry.instruments import Instrument
from worker.telemetry.names import UNKNOWN, short_name
from worker.telemetry.port import Batches, Meter, Reading, Telemetry
from worker.telemetry.queue import WatchedQueue

if TYPE_CHECKING:
    from application.batch import Ports
    from application.queue_port import CommandQueue
    from domain.commands import CommandEnvelope
    from worker.telemetry.tracing import Tracing
    from worker.transport.consumer import QueueConsumer

OUTBOX_SHARDS: Final = SHARDS
"""As many looks are one round of the relay."""


class _NoMeter(Meter):
    """For traces alone."""

    def measure(self, instrument: Instrument, value: float, *labels: str) -> None:
        """Do nothing."""

    def write(self) -> None:
        """Do nothing."""

    def observe(self, instrument: Instrument, read: Callable[[], Iterable[Reading]]) -> None:
        """Do nothing."""


class _Commands(threading.local):
    """The commands of the batch that a thread handles."""

    in_batch = False
    """Else it is the relay that publishes in this thread."""
    waiting: tuple[tuple[str, float], ...] = ()
    """Names of those that are decided and not yet published, and when they were sent."""


class InstrumentedWorker(Telemetry, BatchObserver):
    """Watches what it is given, and is the witness of its batches."""

    def __init__(self, meter: Meter | None, tracing: Tracing | None) -> None:
        """Measure with a meter and trace with `tracing`, or leave one of both."""
        self._meter = meter or _NoMeter()
        self._tracing = tracing
        self._commands = _Commands()
        self._calls = Calls(self._meter, tracing)

    # --- what is put together ----------------------------------------------------------------

    @property
    def observer(self) -> BatchObserver:
        """Itself."""
        return self

    @property
    def calls(self) -> Calls:
        """Who is told of calls to AWS."""
        return self._calls

    def batches(self, handler: Batches) -> Batches:
        """See `Telemetry`."""
        return _WatchedBatches(handler, self)

    def parser(self, parser: Parser) -> Parser:
        """See `Telemetry`; without traces there is nothing to continue."""
        return parser if self._tracing is None else _TracedParser(parser, self._tracing)

    def ports(self, ports: Ports) -> Ports:
        """See `Telemetry`."""
        repository: Any = ports.repository
        if self._tracing is not None:
            repository = _TracedRepository(repository, self._tracing)
        return replace(
            ports,
            repository=cast("UserRepository", repository),
            outbox=cast("Outbox", _WatchedOutbox(ports.outbox, self._meter, self._relayed)),
            publisher=_WatchedPublisher(ports.publisher, self),
        )

    def queue(self, name: str, queue: CommandQueue) -> CommandQueue:
        """See `Telemetry`."""
        return WatchedQueue(name, queue, self._meter, self._tracing)

    def consumer(self, consumer: QueueConsumer) -> None:
        """See `Telemetry`."""
        labels = (consumer.name,)
        for instrument, read in (
            (instruments.BREAKER, lambda: consumer.breaker.state),
            (instruments.BUFFERED, lambda: len(consumer.buffer)),
            (instruments.IN_FLIGHT, lambda: consumer.acknowledger.in_hand),
        ):
            self._meter.observe(instrument, lambda read=read: [(float(read()), labels)])  # type: ignore[misc]

    def stop(self) -> None:
        """See `Telemetry`."""
        self._meter.write()  # first: a collector that is away may take all the time there is
        if self._tracing is not None:
            self._tracing.stop()

    # --- what batches tell -------------------------------------------------------------------

    def handle(self, handler: Batches, messages: Sequence[ReceivedMessage]) -> Dispositions:
        """Have a batch handled; one without messages is a probe, and not worth a word."""
        if not messages:
            return handler.handle(messages)
        self._meter.measure(instruments.BATCH_SIZE, len(messages))
        if again := sum(message["receives"] > 1 for message in messages):
            self._meter.measure(instruments.REDELIVERIES, again)
        self._commands.waiting = ()
        self._commands.in_batch = True
        try:
            with self._tracing.batch(messages) if self._tracing else nullcontext():
                settlements = handler.handle(messages)
        finally:
            self._commands.in_batch = False
        return settlements

    def command_finished(
        self, pending: PendingCommand, outcome: str, code: str | None, seconds: float
    ) -> None:
        """See `BatchObserver`."""
        name = short_name(pending.envelope.type)
        self._meter.measure(instruments.COMMANDS, 1, name, outcome, code or "")
        self._meter.measure(instruments.HANDLING_TIME, seconds, name, outcome)
        if outcome in {"accepted", "rejected"}:
            self._commands.waiting += ((name, pending.message["sent_at"]),)
        if self._tracing is not None:
            self._tracing.command_finished(pending, outcome, code)

    def message_not_understood(self, outcome: str, code: str) -> None:
        """See `BatchObserver`."""
        self._meter.measure(instruments.COMMANDS, 1, UNKNOWN, outcome, code)

    def _relayed(self, entries: Sequence[OutboxEntry]) -> None:
        """Take the time of pointers that are done, if it was the relay that did them."""
        if self._commands.in_batch:
            return
        now = time.time()
        for entry in entries:
            if entry.kind is JobKind.PUBLISH:
                delay = max(0.0, now - entry.recorded_at.timestamp())
                self._meter.measure(instruments.OUTBOX_DELAY, delay)

    def publish(
        self, publisher: EventPublisher, messages: Sequence[EventMessage]
    ) -> dict[str, PublishFailure]:
        """Have events published, and take the time of their commands if all are out."""
        step = self._tracing and self._tracing.step(
            "publish", "messaging.batch.message_count", len(messages)
        )
        with step or nullcontext():
            failures = publisher.publish(messages)
        published = Counter((m.type, m.event_id in failures) for m in messages)
        for (kind, failed), count in published.items():
            result = "failed" if failed else "published"
            self._meter.measure(instruments.EVENTS, count, short_name(kind), result)
        waiting, self._commands.waiting = self._commands.waiting, ()
        if not failures:
            now = time.time()
            for name, sent_at in waiting:
                self._meter.measure(instruments.CRITICAL_TIME, max(0.0, now - sent_at), name)
        return failures


class _WatchedBatches(Batches):
    def __init__(self, handler: Batches, instrumented: InstrumentedWorker) -> None:
        self._handler = handler
        self._watching = instrumented

    def handle(self, messages: Sequence[ReceivedMessage]) -> Dispositions:
        return self._watching.handle(self._handler, messages)


class _TracedParser(Parser):
    def __init__(self, parser: Parser, tracing: Tracing) -> None:
        self._parser = parser
        self._tracing = tracing

    def parse(self, message: ReceivedMessage) -> CommandEnvelope:
        return self._tracing.command(message, self._parser.parse(message))

    def redact(self, body: str) -> str | None:
        return self._parser.redact(body)


class _WatchedPublisher(EventPublisher):
    def __init__(self, publisher: EventPublisher, instrumented: InstrumentedWorker) -> None:
        self._publisher = publisher
        self._watching = instrumented

    def publish(self, messages: Sequence[EventMessage]) -> dict[str, PublishFailure]:
        return self._watching.publish(self._publisher, messages)


class _Delegating:
    """Gives all that it does not have from what it stands before."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _TracedRepository(_Delegating):
    def __init__(self, repository: UserRepository, tracing: Tracing) -> None:
        super().__init__(repository)
        self._tracing = tracing

    def commit(self, changes: Sequence[UserChange], now: datetime) -> CommitReport:
        with self._tracing.step("commit", "db.operation.batch.size", len(changes)) as told:
            report: CommitReport = self._inner.commit(changes, now)
            told["user_worker.conflicts"] = len(report.conflicts)
            told["user_worker.failures"] = len(report.failures)
            return report


class _WatchedOutbox(_Delegating):
    """Remembers what the relay's looks find: that of a look at each shard."""

    def __init__(
        self, outbox: Outbox, meter: Meter, closed: Callable[[Sequence[OutboxEntry]], None]
    ) -> None:
        super().__init__(outbox)
        self._meter = meter
        self._closed = closed
        self._looks: deque[list[OutboxPage]] = deque(maxlen=OUTBOX_SHARDS)
        for instrument, read in (
            (instruments.OUTBOX_OVERDUE, self._overdue),
            (instruments.OUTBOX_AGE, self._age),
            (instruments.OUTBOX_UNREADABLE, self._unreadable),
        ):
            meter.observe(instrument, read)

    def pending(
        self, before: datetime, limit: int = 10, after: OutboxPosition | None = None
    ) -> OutboxPage:
        page: OutboxPage = self._inner.pending(before, limit, after)
        if after is None or not self._looks:
            self._looks.append([])
        self._looks[-1].append(page)
        return page

    def close(self, entries: Sequence[OutboxEntry]) -> None:
        self._inner.close(entries)
        self._closed(entries)

    def park(self, entry: OutboxEntry, reason: str) -> None:
        self._inner.park(entry, reason)
        self._meter.measure(instruments.PARKED, 1)

    def _pages(self) -> list[OutboxPage]:
        return [page for look in list(self._looks) for page in list(look)]

    def _overdue(self) -> Iterator[Reading]:
        if pages := self._pages():
            yield float(sum(len(page.entries) for page in pages)), ()

    def _unreadable(self) -> Iterator[Reading]:
        if pages := self._pages():
            yield float(sum(len(page.unreadable) for page in pages)), ()

    def _age(self) -> Iterator[Reading]:
        if pages := self._pages():
            now = time.time()
            times = [each.recorded_at.timestamp() for page in pages for each in page.entries]
            yield max([0.0, *(now - each for each in times)]), ()
