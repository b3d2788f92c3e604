"""The cost of a million commands: units, requests and bytes multiplied by list prices.

Two other layouts, from public sources, are shown for comparison: NServiceBus with its DynamoDB
persistence and SQS transport, message by message, and a plain Celery task.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

from benchmarks.results_file import read_results
from benchmarks.rows import rows_of
from benchmarks.scale.inputs import Prices
from benchmarks.scale.measured import ITEM_OVERHEAD, REGISTRATION, UPDATE, Footprint, footprint
from benchmarks.targets import CELERY, WORKER
from benchmarks.workload import REGISTERING

MILLION: Final = 1_000_000
GB: Final = 1e9
MONTH_DAYS: Final = 365 / 12
OUTCOME_UNITS: Final = 2
"""An outcome is one item of up to 1 KB, in a transaction."""
BUSY: Final = 0.5
"""Planned share of a processor's time; the rest is for peaks."""
GB_A_VCPU: Final = 2.0


@cache
def cpu_ms(contestant: str = WORKER) -> float:
    """Return the processor time of a registration in ms, at AWS's latency, as it is printed.

    The source is the committed run of the benchmark, benchmarks/results/results.json.
    """
    _, sections = read_results()
    [section] = [section for section in sections if section.key == "aws-latency"]
    return round(rows_of(section, REGISTERING)[contestant].median("cpu_ms"), 2)


@dataclass(frozen=True, slots=True)
class Bill:
    """Dollars for a million commands, by purpose."""

    writes: float
    reads: float
    sqs: float
    sns: float
    kept: float
    """Storage of each command's records, for as long as they are kept."""
    logs: float
    processors: float

    @property
    def total(self) -> float:
        """Return the sum."""
        aws = self.writes + self.reads + self.sqs + self.sns
        return aws + self.kept + self.logs + self.processors


@dataclass(frozen=True, slots=True)
class Layout:
    """The usage of a command in one design."""

    name: str
    write_units: float
    read_units: float
    sqs_requests: float
    sns_requests: float
    kept_bytes: float
    kept_days: float
    log_bytes: float
    cpu_ms: float | None

    def bill(self, prices: Prices) -> Bill:
        """Price a million commands; processor time that was not measured costs nothing here."""
        month_gb = self.kept_bytes * MILLION / GB * self.kept_days / MONTH_DAYS
        hours = (self.cpu_ms or 0) / 1000 * MILLION / 3600 / BUSY
        return Bill(
            self.write_units * prices.write_units_million,
            self.read_units * prices.read_units_million,
            self.sqs_requests * prices.sqs_requests_million,
            self.sns_requests * prices.sns_requests_million,
            month_gb * (prices.storage_gb_month + prices.recovery_gb_month),
            self.log_bytes * MILLION / GB * prices.logs_gb,
            hours * (prices.vcpu_hour + GB_A_VCPU * prices.gb_hour),
        )


def this_worker(kind: str, batch: int, outcome_days: float) -> Layout:
    """Return the measured layout of this worker; producers send one message per call."""
    taken = footprint(kind, batch)
    return Layout(
        f"this worker, batches of {batch}",
        taken.write_units,
        taken.read_units,
        taken.calls["SendMessage"]
        + taken.calls["ReceiveMessage"]
        + taken.calls["DeleteMessageBatch"],
        taken.calls["PublishBatch"],
        taken.outcome_bytes + ITEM_OVERHEAD,
        outcome_days,
        taken.log_bytes,
        cpu_ms(),
    )


def nservicebus(kind: str) -> Layout:
    """Return the layout of NServiceBus: each message alone, its outbox in the same transaction.

    The source is `OutboxPersister.cs` of NServiceBus.Persistence.DynamoDB: a consistent Query for
    the message's record; a transaction of the business's items, a metadata item and an item for
    each outgoing message; then an UpdateItem that marks it dispatched, and a delete for each of
    those items. Metadata is kept seven days. Assumed in its favour: every item fits one unit, and
    its receives are full. Its user, address and session items are assumed to be those of this
    worker.
    """
    ours = footprint(kind, 1)
    business = ours.write_units - ours.pointer_units - OUTCOME_UNITS
    metadata_and_message = 2 + 2
    dispatched_and_deleted = 1 + 1
    return Layout(
        "NServiceBus's layout",
        business + metadata_and_message + dispatched_and_deleted,
        ours.read_units,  # its outbox record instead of this worker's outcome
        1 + 0.1 + 1,  # sent, received ten at a time, deleted one by one
        1,
        300 + ITEM_OVERHEAD,
        7,
        ours.log_bytes,
        None,
    )


def plain_celery(kind: str) -> Layout | None:
    """Return the layout of benchmarks/contestants/naive_celery.py, which has two kinds only."""
    if kind not in (REGISTRATION, UPDATE):
        return None
    return Layout(
        "plain Celery",
        2,  # the item and its entry in the index of addresses
        0.5,  # an eventually consistent Query
        1 + 0.2 + 1,  # sent, received (measured: 4.20 calls in all), deleted one by one
        1,
        0,
        0,
        footprint(kind, 1).log_bytes,
        cpu_ms(CELERY),
    )


def layouts(kind: str, outcome_days: float) -> list[Layout]:
    """Return all layouts for a kind of command."""
    plain = plain_celery(kind)
    return [
        *(this_worker(kind, batch, outcome_days) for batch in (20, 10, 1)),
        nservicebus(kind),
        *([plain] if plain else []),
    ]


def idle_worker_month(prices: Prices, interval: float = 5.0, poll: float = 20.0) -> float:
    """Price a month of an idle worker, without its processors.

    It polls its queue once in `poll` seconds, and reads a shard of the outbox, for one read unit,
    once in `interval`.
    """
    month = MONTH_DAYS * 86400
    polls = month / poll * prices.sqs_requests_million / MILLION
    return polls + month / interval * prices.read_units_million / MILLION


def bytes_of(taken: Footprint) -> str:
    """Render the sizes of message, event and outcome."""
    return f"{taken.message_bytes:.0f} / {taken.event_bytes:.0f} / {taken.outcome_bytes:.0f}"
