"""What a wait for full batches saves at light load, and the latency that it costs."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import quantiles
from typing import Final

from benchmarks import lineup
from benchmarks.endpoints import Endpoints
from benchmarks.lineup import Contestant
from benchmarks.measuring import Plan, Result, Session
from benchmarks.rows import Row, markdown
from benchmarks.workload import REGISTERING, Workload, register

LEAST_COMMANDS: Final = 30
"""Commands per cell, however long they take to arrive."""
PERCENTILES: Final = 101
SEED: Final = 17
WARM_UP: Final = 600
HEADS: Final = (
    *("commands/s", "wait ms", "commands a batch", "write units a command", "AWS calls a command"),
    *("CPU ms a command", "p50 ms", "p99 ms"),
)


def measure(
    aws: Endpoints, rates: Sequence[int], waits: Sequence[int], seconds: float, folder: Path
) -> Iterator[Result]:
    """Yield a result for each rate and wait: registrations that arrive at random.

    Each worker gets the same arrivals, one rate after the other. `seconds` is the length of a cell,
    which is longer where fewer than `LEAST_COMMANDS` would arrive.
    """
    for wait in waits:
        plan = Plan(tuple(register(WARM_UP)), ())
        with Session(aws, _worker(wait), plan, folder) as session:
            for rate in rates:
                offsets = arrivals(rate, seconds)
                workload = Workload(REGISTERING, tuple(register(len(offsets))))
                result = session.measure(workload, 1, offsets)
                latencies = percentiles(result.latencies_ms)
                yield replace(result, workload=f"{rate}/s", latencies_ms=latencies)


def percentiles(values: Sequence[float]) -> list[float]:
    """Return the percentiles of many values, from 0 to 100, or the values themselves if few.

    The percentiles of the result are those of the values, in a file of bearable size.
    """
    if len(values) <= PERCENTILES:
        return list(values)
    ordered = sorted(values)
    inner = quantiles(ordered, n=PERCENTILES - 1, method="inclusive")
    return [round(value, 2) for value in (ordered[0], *inner, ordered[-1])]


def arrivals(rate: int, seconds: float) -> list[float]:
    """Return when commands arrive, in seconds: a Poisson process, the same for each call."""
    draw = random.Random(SEED)
    offsets, now = list[float](), 0.0
    for _ in range(max(LEAST_COMMANDS, round(rate * seconds))):
        now += draw.expovariate(rate)
        offsets.append(now)
    return offsets


def _worker(wait: int) -> Contestant:
    return replace(
        lineup.worker_prefork(2),
        key=f"wait-{wait}",
        title=str(wait),
        environment=(("USER_WORKER_BATCH_WAIT", str(wait)),),
    )


def render(results: Sequence[Result]) -> str:
    """Render the results as a Markdown table, the waits of a rate below each other."""
    rates = dict.fromkeys(result.workload for result in results)
    ordered = [result for rate in rates for result in results if result.workload == rate]
    return markdown(HEADS, map(_cells, ordered))


def summary(results: Sequence[Result]) -> str:
    """Render write units, AWS calls and p50 of each rate, a column for each wait."""
    waits = dict.fromkeys(result.title for result in results)
    rates = dict.fromkeys(result.workload for result in results)
    cells = {
        (result.workload, result.title): (
            f"{result.write_units:.2f}, {result.calls:.2f}, {Row([result]).latency(50)}"
        )
        for result in results
    }
    return markdown(
        ("commands/s", *(f"wait {int(wait):,} ms" for wait in waits)),
        ((rate.removesuffix("/s"), *(cells[rate, wait] for wait in waits)) for rate in rates),
    )


def _cells(result: Result) -> tuple[str, ...]:
    row = Row([result])
    return (
        *(result.workload.removesuffix("/s"), result.title),
        f"{commands_a_batch(result):.1f}",
        *(f"{result.write_units:.2f}", f"{result.calls:.2f}", f"{result.cpu_ms:.2f}"),
        *(row.latency(50), row.latency(99)),
    )


def commands_a_batch(result: Result) -> float:
    """Return the mean number of commands of a transaction."""
    return result.commands / max(1, result.operations.get("DynamoDB TransactWriteItems", 0))
