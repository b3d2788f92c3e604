"""Every metric: its name, unit, labels and buckets.

Names, units and labels of `db.*` and `messaging.*` are those of OpenTelemetry's semantic
conventions 1.44.0; the others are this worker's own. Labels have few values: types of commands and
events, outcomes, codes, operations, queues. No label identifies a user.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

SCOPE: Final = "user-worker"
"""Name of the instrumentation scope, and of the service unless another is set."""
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
_UNITS: Final = {"s": "seconds"}
UNKNOWN: Final = "other"
"""Label for unknown message types, since anyone may send any type."""


def short_names(message_types: Iterable[str]) -> dict[str, str]:
    """Return the names of commands and events by type: without domain and version."""
    return {each: each.split(".")[2] for each in message_types}


class Kind(Enum):
    """Type of a metric."""

    COUNTER = auto()
    HISTOGRAM = auto()
    GAUGE = auto()


@dataclass(frozen=True, slots=True)
class Instrument:
    """A metric."""

    name: str
    kind: Kind
    unit: str
    """In UCUM: `s`, or the counted unit in braces."""
    description: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def prometheus_name(self) -> str:
        """The name in Prometheus, without `_total` of a counter and the suffixes of a histogram.

        It follows the rules by which collectors translate names, so both ways yield the same name.
        """
        unit = _UNITS.get(self.unit)
        return self.name.replace(".", "_") + (f"_{unit}" if unit else "")

    @property
    def prometheus_labels(self) -> tuple[str, ...]:
        """The labels' names in Prometheus."""
        return tuple(label.replace(".", "_") for label in self.labels)

    def attributes(self, labels: tuple[str, ...]) -> dict[str, str]:
        """Return the labels as OpenTelemetry's attributes; empty ones are omitted."""
        pairs = zip(self.labels, labels, strict=True)
        return {name: value for name, value in pairs if value}


CALL_SECONDS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10)
"""A call to AWS takes 5 to 20 ms, and ends after 10 s."""
HANDLING_SECONDS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10)
CRITICAL_SECONDS: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 15, 60, 300, 900, 3600)
"""From one fast batch to a message that waited for several redeliveries."""
BATCH_MESSAGES: Final = (1, 2, 5, 10, 15, 20, 30)

COMMANDS: Final = Instrument(
    "user_worker.commands",
    Kind.COUNTER,
    "{command}",
    "Deliveries of commands, by outcome",
    ("command", "outcome", "code"),
)
HANDLING_TIME: Final = Instrument(
    "user_worker.command.handling_time",
    Kind.HISTOGRAM,
    "s",
    "Time from the start of a batch until the outcome of a command",
    ("command", "outcome"),
    HANDLING_SECONDS,
)
CRITICAL_TIME: Final = Instrument(
    "user_worker.command.critical_time",
    Kind.HISTOGRAM,
    "s",
    "Time from the SentTimestamp of a command until its events were published",
    ("command",),
    CRITICAL_SECONDS,
)
BATCH_SIZE: Final = Instrument(
    "user_worker.batch.size",
    Kind.HISTOGRAM,
    "{message}",
    "Messages per batch",
    (),
    BATCH_MESSAGES,
)
REDELIVERIES: Final = Instrument(
    "user_worker.redeliveries",
    Kind.COUNTER,
    "{message}",
    "Messages that had been received before",
)
RECEIVED: Final = Instrument(
    "messaging.client.consumed.messages",
    Kind.COUNTER,
    "{message}",
    "Messages received",
    ("messaging.system", "messaging.operation.name", "messaging.destination.name"),
)
DEAD_LETTERS: Final = Instrument(
    "user_worker.dead_letters",
    Kind.COUNTER,
    "{message}",
    "Messages sent to the dead-letter queue, by error_code",
    ("code",),
)
EVENTS: Final = Instrument(
    "user_worker.events",
    Kind.COUNTER,
    "{event}",
    "Events published to the topic, or failed; failed events stay in the outbox",
    ("event", "result"),
)
STORE_CALLS: Final = Instrument(
    "db.client.operation.duration",
    Kind.HISTOGRAM,
    "s",
    "Duration of calls to DynamoDB, including retries",
    ("db.system.name", "db.operation.name", "error.type"),
    CALL_SECONDS,
)
MESSAGING_CALLS: Final = Instrument(
    "messaging.client.operation.duration",
    Kind.HISTOGRAM,
    "s",
    "Duration of calls to SQS and SNS, including retries and long polls",
    ("messaging.system", "messaging.operation.name", "error.type"),
    CALL_SECONDS,
)
FAILED_TRIES: Final = Instrument(
    "user_worker.aws.failed_tries",
    Kind.COUNTER,
    "{try}",
    "Failed attempts of calls to AWS; a retry may have succeeded",
    ("service", "operation", "error.type"),
)
THROTTLES: Final = Instrument(
    "user_worker.aws.throttles",
    Kind.COUNTER,
    "{try}",
    "Throttled attempts of calls to AWS",
    ("service", "operation"),
)
CAPACITY: Final = Instrument(
    "user_worker.dynamodb.consumed_capacity",
    Kind.COUNTER,
    "{unit}",
    "Capacity units of the table, computed and sampled, without those of the index",
    ("operation", "unit"),
)
OUTBOX_OVERDUE: Final = Instrument(
    "user_worker.outbox.overdue",
    Kind.GAUGE,
    "{pointer}",
    "Outbox pointers older than the relay's age, when the relay last read each shard",
)
OUTBOX_AGE: Final = Instrument(
    "user_worker.outbox.age",
    Kind.GAUGE,
    "s",
    "Age of the oldest overdue outbox entry; 0 if no entry is overdue",
)
OUTBOX_UNREADABLE: Final = Instrument(
    "user_worker.outbox.unreadable",
    Kind.GAUGE,
    "{pointer}",
    "Outbox pointers that the relay could not read",
)
OUTBOX_DELAY: Final = Instrument(
    "user_worker.outbox.delay",
    Kind.HISTOGRAM,
    "s",
    "Time from a commit until the relay published its events",
    (),
    CRITICAL_SECONDS,
)
PARKED: Final = Instrument(
    "user_worker.outbox.parked",
    Kind.COUNTER,
    "{pointer}",
    "Outbox pointers that were parked and need manual work",
)
BREAKER: Final = Instrument(
    "user_worker.breaker.state",
    Kind.GAUGE,
    "1",
    "0 closed, 1 slowed: topic unavailable, 2 half-open, 3 open: store unavailable",
    ("queue",),
)
BUFFERED: Final = Instrument(
    "user_worker.batches.buffered",
    Kind.GAUGE,
    "{batch}",
    "Received batches that wait for a free child process or thread",
    ("queue",),
)
IN_FLIGHT: Final = Instrument(
    "user_worker.messages.in_flight",
    Kind.GAUGE,
    "{message}",
    "Messages in flight: received, and not yet acknowledged, retried or dead-lettered",
    ("queue",),
)

CATALOGUE: Final = tuple(each for each in list(globals().values()) if isinstance(each, Instrument))
"""All metrics."""
