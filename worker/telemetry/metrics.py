"""Record metrics from the reports to the observer of a worker.

Their names and descriptions are in `worker.telemetry.instruments`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, Protocol, TypeAlias

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.util.types import Attributes

from application.disposition import ReceivedMessage
from application.observer import ObservedCommand, QueueState, WorkerObserver
from application.outbox import SHARDS, OutboxPage
from application.ports import EventMessage, OutboxEntry, PublishFailure
from worker.telemetry import instruments
from worker.telemetry.instruments import (
    CATALOGUE,
    SCHEMA_URL,
    SCOPE,
    UNKNOWN,
    Instrument,
    Kind,
    short_names,
)

Reading: TypeAlias = tuple[float, tuple[str, ...]]
"""The value of a gauge, and the values of its labels."""
ReadGauge: TypeAlias = Callable[[], Iterable[Reading]]


class Meter(Protocol):
    """Records measurements. Any thread may call any method; none waits for the network."""

    def measure(self, instrument: Instrument, value: float, *labels: str) -> None:
        """Add to a counter or record in a histogram; label values are in the instrument's order."""
        ...

    def observe(self, instrument: Instrument, read: ReadGauge) -> None:
        """Register another function that reads a gauge, called at each collection."""
        ...


class OpenTelemetryMeter(Meter):
    """Records with the instruments of an OpenTelemetry provider."""

    def __init__(self, provider: MeterProvider) -> None:
        """Create the instruments; counters without labels start at 0."""
        meter = provider.get_meter(SCOPE, schema_url=SCHEMA_URL)
        self._record: dict[str, Callable[[float, Attributes], None]] = {}
        self._attributes: dict[tuple[str, tuple[str, ...]], Attributes] = {}
        """By metric and label values, of which there are few."""
        self._gauges: defaultdict[str, list[ReadGauge]] = defaultdict(list)
        for each in CATALOGUE:
            name, text, unit = each.name, each.description, each.unit
            if each.kind is Kind.COUNTER:
                counter = meter.create_counter(name, unit, text)
                self._record[name] = counter.add
                if not each.labels:
                    counter.add(0)
            elif each.kind is Kind.HISTOGRAM:
                self._record[name] = meter.create_histogram(
                    name, unit, text, explicit_bucket_boundaries_advisory=each.buckets
                ).record
            else:
                meter.create_observable_gauge(name, [partial(self._read, each)], unit, text)

    def measure(self, instrument: Instrument, value: float, *labels: str) -> None:
        """See the port."""
        series = instrument.name, labels
        attributes = self._attributes.get(series)
        if attributes is None:
            attributes = self._attributes[series] = instrument.attributes(labels)
        self._record[instrument.name](value, attributes)

    def observe(self, instrument: Instrument, read: ReadGauge) -> None:
        """See the port."""
        self._gauges[instrument.name].append(read)

    def _read(self, instrument: Instrument, _: CallbackOptions) -> Iterator[Observation]:
        for read in self._gauges[instrument.name]:
            for value, labels in read():
                yield Observation(value, instrument.attributes(labels))


class _Commands(threading.local):
    """The commands of the batch that this thread handles."""

    def __init__(self) -> None:
        self.in_batch = False
        """If False, the relay publishes in this thread."""
        self.ended: Counter[tuple[str, str, str]] = Counter()
        """Ended commands by name, outcome and code; counted once per batch."""
        self.unpublished: list[tuple[str, float]] = []
        """Names and times of sending of commands that are decided and not published yet."""


class MetricsObserver(WorkerObserver):
    """Records the metrics of a worker."""

    def __init__(self, meter: Meter, message_types: Iterable[str]) -> None:
        self._meter: Final = meter
        self._names = short_names(message_types)
        self._commands = _Commands()
        self._looks: deque[list[OutboxPage]] = deque(maxlen=SHARDS)
        """The pages that the relay read last, for as many reads as one round has."""
        meter.observe(instruments.OUTBOX_OVERDUE, self._overdue)
        meter.observe(instruments.OUTBOX_AGE, self._age)
        meter.observe(instruments.OUTBOX_UNREADABLE, self._unreadable)

    # --- batches -----------------------------------------------------------------------------

    @contextmanager
    def batch(self, messages: Sequence[ReceivedMessage]) -> Iterator[None]:
        """See `WorkerObserver`."""
        self._meter.measure(instruments.BATCH_SIZE, len(messages))
        if again := sum(message["receives"] > 1 for message in messages):
            self._meter.measure(instruments.REDELIVERIES, again)
        self._commands.unpublished = []
        self._commands.in_batch = True
        try:
            yield
        finally:
            self._commands.in_batch = False
            ended, self._commands.ended = self._commands.ended, Counter()
            for labels, count in ended.items():
                self._meter.measure(instruments.COMMANDS, count, *labels)

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
        name = self._name(command.type)
        self._commands.ended[name, outcome, code or ""] += 1
        self._meter.measure(instruments.HANDLING_TIME, seconds, name, outcome)
        if outcome in {"accepted", "rejected"}:
            self._commands.unpublished.append((name, message["sent_at"]))

    def _name(self, message_type: str) -> str:
        """Return the label of a type: `other` for an unknown one, since anyone may send any."""
        return self._names.get(message_type, UNKNOWN)

    def message_not_understood(self, outcome: str, code: str) -> None:
        """See `WorkerObserver`."""
        self._commands.ended[UNKNOWN, outcome, code] += 1

    # --- the topic and the outbox ------------------------------------------------------------

    def published(
        self, messages: Sequence[EventMessage], failures: Mapping[str, PublishFailure]
    ) -> None:
        """See `WorkerObserver`. Critical time ends when all events of the batch are published."""
        published = Counter((each.type, each.event_id in failures) for each in messages)
        for (kind, failed), count in published.items():
            result = "failed" if failed else "published"
            self._meter.measure(instruments.EVENTS, count, self._name(kind), result)
        unpublished, self._commands.unpublished = self._commands.unpublished, []
        if not failures:
            now = time.time()
            for name, sent_at in unpublished:
                self._meter.measure(instruments.CRITICAL_TIME, max(0.0, now - sent_at), name)

    def outbox_relayed(self, entries: Sequence[OutboxEntry]) -> None:
        """See `WorkerObserver`."""
        now = time.time()
        for entry in entries:
            delay = max(0.0, now - entry.recorded_at.timestamp())
            self._meter.measure(instruments.OUTBOX_DELAY, delay)

    def outbox_parked(self) -> None:
        """See `WorkerObserver`."""
        self._meter.measure(instruments.PARKED, 1)

    def outbox_read(self, page: OutboxPage, *, first: bool) -> None:
        """See `WorkerObserver`."""
        if first or not self._looks:
            self._looks.append([])
        self._looks[-1].append(page)

    def _pages(self) -> list[OutboxPage]:
        return [page for look in list(self._looks) for page in list(look)]

    def _overdue(self) -> Iterator[Reading]:
        if pages := self._pages():
            yield sum(len(page.entries) for page in pages), ()

    def _unreadable(self) -> Iterator[Reading]:
        if pages := self._pages():
            yield sum(len(page.unreadable) for page in pages), ()

    def _age(self) -> Iterator[Reading]:
        if pages := self._pages():
            now = time.time()
            times = [each.recorded_at.timestamp() for page in pages for each in page.entries]
            yield max([0.0, *(now - each for each in times)]), ()

    # --- the queues --------------------------------------------------------------------------

    def received(self, queue: str, messages: int, started: int) -> str | None:  # noqa: ARG002 - not measured
        """See `WorkerObserver`."""
        self._meter.measure(instruments.RECEIVED, messages, "aws_sqs", "receive", queue)
        return None

    def dead_lettered(self, codes: Mapping[str, int]) -> None:
        """See `WorkerObserver`."""
        for code, count in codes.items():
            self._meter.measure(instruments.DEAD_LETTERS, count, code)

    def queue_served(self, queue: str, read: Callable[[], QueueState]) -> None:
        """See `WorkerObserver`."""
        labels = (queue,)
        self._meter.observe(instruments.BREAKER, lambda: [(read().breaker, labels)])
        self._meter.observe(instruments.BUFFERED, lambda: [(read().buffered, labels)])
        self._meter.observe(instruments.IN_FLIGHT, lambda: [(read().in_flight, labels)])
