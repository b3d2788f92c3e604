"""The tables of docs/explanation/scaling.md and benchmarks/results/scale.md, by name.

tests/docs/test_scaling_page.py compares the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from benchmarks.scale import autoscaling, batches, cost, growth, outbox
from benchmarks.scale.contention import Contention
from benchmarks.scale.inputs import Inputs
from benchmarks.scale.measured import KINDS, LOGIN, REGISTRATION, UPDATE, footprint

MINUTE: Final = 60


def _table(header: str, rows: Iterable[Iterable[object]]) -> str:
    columns = header.count("|") + 1
    lines = [f"| {header} |", "|---|" + "--:|" * (columns - 1)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)


def number(value: float) -> str:
    """Render a number with three significant digits, or whole."""
    if value == 0:
        return "0"
    if value >= 100:  # noqa: PLR2004 - three digits
        return f"{value:,.0f}"
    return f"{value:.{2 if value >= 1 else 3}f}"


# --- what is measured, and what it costs ---------------------------------------------------


def footprints(_: Inputs) -> str:
    """Render the usage of a command."""
    return _table(
        "command | in batches of | calls of the worker | read units | write units "
        "| of those, outbox | bytes of message / event / outcome",
        (
            (
                kind,
                batch,
                number(taken.worker_calls),
                number(taken.read_units),
                number(taken.write_units),
                number(taken.pointer_units),
                cost.bytes_of(taken),
            )
            for kind in KINDS
            for batch in (20, 10, 1)
            for taken in [footprint(kind, batch)]
        ),
    )


def million(inputs: Inputs) -> str:
    """Render the cost of a million commands, by purpose."""
    bills = (
        (kind, batch, cost.this_worker(kind, batch, inputs.habits.outcome_days).bill(inputs.prices))
        for kind in KINDS
        for batch in (10, 1)
    )
    return _table(
        "command, batches of | writes | reads | SQS | SNS | outcomes kept | logs | processors "
        "| all",
        (
            (
                f"{kind}, {batch}",
                *(
                    f"{part:.2f}"
                    for part in (
                        bill.writes,
                        bill.reads,
                        bill.sqs,
                        bill.sns,
                        bill.kept,
                        bill.logs,
                        bill.processors,
                    )
                ),
                f"**{bill.total:.2f}**",
            )
            for kind, batch, bill in bills
        ),
    )


def totals(inputs: Inputs) -> str:
    """Render the cost of a million commands, in batches and alone."""
    days = inputs.habits.outcome_days
    return _table(
        "$ a million | in batches of 10 | alone",
        (
            (
                kind,
                *(
                    f"{cost.this_worker(kind, batch, days).bill(inputs.prices).total:.2f}"
                    for batch in (10, 1)
                ),
            )
            for kind in KINDS
        ),
    )


def compared(inputs: Inputs) -> str:
    """Render the cost of other layouts too.

    Without processors and logs, as not all are measured.
    """
    rows = []
    for kind in (REGISTRATION, UPDATE, LOGIN):
        for layout in cost.layouts(kind, inputs.habits.outcome_days):
            bill = layout.bill(inputs.prices)
            rows.append(
                (
                    f"{kind}: {layout.name}",
                    number(layout.write_units),
                    number(layout.read_units),
                    number(layout.sqs_requests),
                    number(layout.sns_requests),
                    f"{bill.kept:.2f}",
                    f"{bill.total - bill.logs - bill.processors:.2f}",
                )
            )
    return _table(
        "layout | write units | read units | SQS requests | SNS requests | kept, $ | all, $", rows
    )


def sizes(inputs: Inputs) -> str:
    """Render the figures from a thousand users to a thousand million."""
    grown = [growth.size(10**power, inputs) for power in range(3, 10)]
    return _table(
        "users | commands/s, mean / peak | a batch, mean / peak | write units/s at the peak "
        "| table GB | of those, outcomes | partitions | shards needed | expiries/s "
        "| a migration, h: by units / a core",
        (
            (
                f"{each.users:,}",
                f"{number(each.mean)} / {number(each.peak)}",
                f"{each.batch} / {each.batch_at_peak}",
                number(each.peak_writes),
                number(each.table_gb),
                f"{each.outcomes_gb / each.table_gb:.0%}",
                f"{each.partitions:,}",
                each.shards,
                number(each.expiries),
                f"{number(each.migration_hours)} / {number(each.migrating_hours)}",
            )
            for each in grown
        ),
    )


def months(inputs: Inputs) -> str:
    """Render the costs of these numbers of users."""
    grown = [growth.size(10**power, inputs) for power in range(3, 10)]
    parts = list(grown[0].bill)
    return _table(
        " | ".join(["users, $ a month", *parts, "all", "$ a million users"]),
        (
            (
                f"{each.users:,}",
                *(number(each.bill[part]) for part in parts),
                f"**{number(each.month)}**",
                number(each.month / each.users * 1e6),
            )
            for each in grown
        ),
    )


def users(inputs: Inputs) -> str:
    """Render the cost of a month for these numbers of users."""
    grown = [growth.size(10**power, inputs) for power in range(3, 10)]
    return _table(
        "users | $ a month | $ a million users",
        (
            (
                f"{each.users:,}",
                number(each.month),
                number(each.month / each.users * 1e6),
            )
            for each in grown
        ),
    )


# --- what is simulated ---------------------------------------------------------------------


def shards(_: Inputs) -> str:
    """Render when a shard is full."""
    loads = (0.5, 0.7, 0.8, 0.9, 0.95)
    return _table(
        "shards, batches of | commands/s when full | "
        + " | ".join(f"overfull at {load:.0%}" for load in loads),
        (
            (
                f"{count}, {batch}",
                number(full),
                *(f"{outbox.overfull(full * load, count, batch):.1%}" for load in loads),
            )
            for count, batch in ((8, 1), (8, 10), (8, 20), (32, 10))
            for full in [outbox.capacity(count, batch)]
        ),
    )


def fills(_: Inputs) -> str:
    """Render how many commands share a batch."""
    rates = (1, 10, 50, 100, 200, 455, 900, 1_500)
    return _table(
        "commands/s of a task | " + " | ".join(f"{rate:,}" for rate in rates),
        [("commands a batch, mean", *(f"{batches.mean_batch(rate):.1f}" for rate in rates))],
    )


def needs(_: Inputs) -> str:
    """Render what the outbox needs for a rate of commands."""
    return _table(
        "commands/s | pointers' units/s, batches of 20 | of 10 | of 1 "
        "| shards, batches of 10 or 20 | of 1",
        (
            (
                f"{rate:,}",
                *(number(rate * footprint(REGISTRATION, b).pointer_units) for b in (20, 10, 1)),
                *(
                    growth.shards_for(rate, footprint(REGISTRATION, b).pointer_units)
                    for b in (10, 1)
                ),
            )
            for rate in (100, 1_000, 5_000, 10_000, 25_000, 50_000, 100_000)
        ),
    )


def lags(_: Inputs) -> str:
    """Render how long pointers wait after a crash."""
    return _table(
        "shards | workers | median s | 99% within s | longest s",
        (
            (count, workers, *(number(s) for s in (lag.median, lag.p99, lag.worst)))
            for count in (8, 32, 64)
            for workers in (1, 2, 10)
            for lag in [outbox.crash_lag(workers, count)]
        ),
    )


def drains(_: Inputs) -> str:
    """Render how long the relay takes after an outage of SNS."""
    return _table(
        "SNS away for | workers | pointers left | drained after s, 8 shards | 32 shards",
        (
            (
                f"{minutes} min",
                workers,
                f"{left:,}",
                *(number(outbox.drained(left, workers, count)) for count in (8, 32)),
            )
            for minutes in (1, 10, 60)
            for workers in (2, 10)
            for left in [outbox.backlog(minutes * MINUTE, workers)]
        ),
    )


def celebrity(_: Inputs) -> str:
    """Render the figures of commands for one user."""
    rows = []
    for name, tasks, fifo in (("standard", 8, False), ("standard", 32, False), ("FIFO", 1, True)):
        for rate in (1, 10, 50, 100, 400):
            run = Contention(tasks, fifo=fifo).play(rate, MINUTE)
            rows.append(
                (
                    f"{name}, {tasks if not fifo else 'any'} tasks",
                    rate,
                    f"{run.conflicts_a_commit:.2f}",
                    f"{run.mean_receives:.2f}",
                    run.most_receives,
                    run.dead,
                    f"{number(run.wait(0.5))} / {number(run.wait(0.99))}",
                )
            )
    return _table(
        "queue | commands/s for one user | conflicts a commit | receives, mean | most "
        "| dead letters | wait p50 / p99, s",
        rows,
    )


def bursts(_: Inputs) -> str:
    """Render how scaling responds to a burst."""
    return _table(
        "commands in a minute | tasks at most | tasks reached | longest wait, s | over after, min",
        (
            (
                f"{burst:,}",
                most,
                told.most_tasks,
                number(told.oldest),
                "never" if told.drained is None else f"{told.drained / MINUTE:.1f}",
            )
            for burst in (50_000, 200_000, 1_000_000, 5_000_000)
            for most in (2, 10, 40)
            for told in [autoscaling.respond(burst, policy=autoscaling.Policy(most=most))]
        ),
    )


TABLES: Final[dict[str, Callable[[Inputs], str]]] = {
    each.__name__: each
    for each in (
        footprints,
        fills,
        million,
        totals,
        compared,
        sizes,
        months,
        users,
        needs,
        shards,
        lags,
        drains,
        celebrity,
        bursts,
    )
}
