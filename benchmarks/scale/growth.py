"""From a thousand users to a thousand million: rates, table, partitions and costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from application.outbox import SHARDS
from benchmarks.scale import cost
from benchmarks.scale.batches import LEAST_TASKS, mean_batch, tasks_for
from benchmarks.scale.inputs import Habits, Inputs
from benchmarks.scale.measured import footprint, index_entry_bytes, stored_bytes

PARTITION_BYTES: Final = 10e9
PARTITION_WRITES: Final = 1000
PARTITION_READS: Final = 3000
TABLE_QUOTA: Final = 40_000
"""Read or write units per second of an on-demand table, before its quota is raised."""
SHARD_LOAD: Final = 0.7
"""Planned load of a partition, because shards are drawn at random; see `outbox.py`."""
MIGRATION_SHARE: Final = 0.1
"""Share of the table's quota."""
LOOK_MS, CHANGE_MS, SKIP_MS = 0.2, 1.4, 0.01
"""Processor time of `user-worker migrate`, by its page: for an item looked at, for one changed, and
for an outcome, which DynamoDB need not send."""
MONTH: Final = cost.MONTH_DAYS * 86400


@dataclass(frozen=True, slots=True)
class Size:
    """Figures for a number of users."""

    users: int
    mean: float
    """Commands per second, like `peak`."""
    peak: float
    batch: int
    """Commands that share a batch, like `batch_at_peak` at the peak."""
    batch_at_peak: int
    peak_writes: float
    """Write units per second; `peak_reads` in read units."""
    peak_reads: float
    shards: int
    table_gb: float
    outcomes_gb: float
    partitions: int
    expiries: float
    """Items per second that time to live deletes."""
    migration_hours: float
    """By the units that it may use; `migrating_hours` by the capacity of one process."""
    migrating_hours: float
    bill: dict[str, float]
    """Dollars per month."""

    @property
    def month(self) -> float:
        """Return the total dollars per month."""
        return sum(self.bill.values())


def size(users: int, inputs: Inputs) -> Size:
    """Compute the figures for a number of users."""
    habits = inputs.habits
    mean = users * sum(habits.commands.values()) / MONTH
    peak = mean * habits.peak
    batch, at_peak = fill(mean), fill(peak)
    writes, reads, entries = _units(habits, at_peak)
    everything, outcomes = _stored(users, habits)
    table_gb = everything / cost.GB
    return Size(
        users,
        mean,
        peak,
        batch,
        at_peak,
        peak * writes,
        peak * reads,
        shards_for(peak, entries),
        table_gb,
        outcomes / cost.GB,
        _partitions(everything, peak * writes, peak * reads),
        mean + users * habits.logins / MONTH,
        # By its reads, plus a unit per user to compare it with its address; it writes less.
        (everything / 8192 + users) / (TABLE_QUOTA * MIGRATION_SHARE) / 3600,
        users * _migration_ms(habits) / 1000 / 3600,
        _month(users, inputs, batch, table_gb),
    )


def fill(rate: float) -> int:
    """Return the commands per batch at a total rate of all tasks, rounded."""
    return max(1, round(mean_batch(rate / tasks_for(rate))))


def shards_for(rate: float, pointer_units: float) -> int:
    """Return the number of shards for a rate of commands; at least eight."""
    return max(SHARDS, math.ceil(rate * pointer_units / PARTITION_WRITES / SHARD_LOAD))


def _units(habits: Habits, batch: int) -> tuple[float, float, float]:
    """Return write units, read units and pointers' units of a mean command."""
    total = sum(habits.commands.values())
    shares = [(share / total, footprint(kind, batch)) for kind, share in habits.commands.items()]
    return (
        sum(share * each.write_units for share, each in shares),
        sum(share * each.read_units for share, each in shares),
        sum(share * each.pointer_units for share, each in shares),
    )


def _stored(users: int, habits: Habits) -> tuple[float, float]:
    """Return the bytes of the table with its index, and those of the outcomes in it."""
    sizes = stored_bytes()
    months = habits.outcome_days / cost.MONTH_DAYS
    outcomes = users * months * sum(habits.commands.values()) * sizes["command"]
    person = sizes["user"] + sizes["email"]
    person += habits.sessions * (sizes["session"] + index_entry_bytes())
    return users * person + outcomes, outcomes


def _migration_ms(habits: Habits) -> float:
    """Return a process's ms for a user: changed, with address and sessions, and outcomes."""
    outcomes = habits.outcome_days / cost.MONTH_DAYS * sum(habits.commands.values())
    return CHANGE_MS + (1 + habits.sessions) * LOOK_MS + outcomes * SKIP_MS


def _partitions(everything: float, writes: float, reads: float) -> int:
    needed = everything / PARTITION_BYTES
    return math.ceil(max(needed, writes / PARTITION_WRITES + reads / PARTITION_READS, 1))


def _month(users: int, inputs: Inputs, batch: int, table_gb: float) -> dict[str, float]:
    prices, habits = inputs.prices, inputs.habits
    bills = [
        (users * often / cost.MILLION, cost.this_worker(kind, batch, 0).bill(prices))
        for kind, often in habits.commands.items()
    ]
    vcpu_hours = max(
        LEAST_TASKS * MONTH / 3600,
        users * sum(habits.commands.values()) * cost.cpu_ms() / 1000 / 3600 / cost.BUSY,
    )
    return {
        "writes": sum(millions * bill.writes for millions, bill in bills),
        "reads": sum(millions * bill.reads for millions, bill in bills),
        "storage": table_gb * (prices.storage_gb_month + prices.recovery_gb_month),
        "queues and topic": sum(millions * (bill.sqs + bill.sns) for millions, bill in bills),
        "logs": sum(millions * bill.logs for millions, bill in bills),
        "processors": vcpu_hours * (prices.vcpu_hour + cost.GB_A_VCPU * prices.gb_hour),
    }
