"""The section of light load: arrivals, and the table of its results."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.light_load import (
    LEAST_COMMANDS,
    arrivals,
    commands_a_batch,
    percentiles,
    render,
    summary,
)
from benchmarks.rows import Row

from .test_benchmark_report import result_of


def test_arrivals_have_the_rate_and_are_the_same_for_every_worker() -> None:
    """Otherwise two waits could not be compared."""
    offsets = arrivals(100, 60)
    assert offsets == arrivals(100, 60)
    assert offsets == sorted(offsets)
    assert len(offsets) == 6_000
    assert offsets[-1] == pytest.approx(60, rel=0.05)


def test_few_commands_arrive_for_longer() -> None:
    """A percentile of three commands would mean nothing."""
    offsets = arrivals(1, 3)
    assert len(offsets) == LEAST_COMMANDS
    assert offsets[-1] > 15


def test_the_waits_of_a_rate_are_below_each_other() -> None:
    """In the order measured, each with its own figures."""
    some = replace(result_of("x"), operations={"DynamoDB TransactWriteItems": 25})
    results = [
        replace(some, workload=f"{rate}/s", title=wait)
        for wait in ("0", "200")
        for rate in (1, 500)
    ]
    assert commands_a_batch(some) == 4
    rows = [line.split(" | ")[:4] for line in render(results).splitlines()[2:]]
    assert rows == [
        ["| 1", "0", "4.0", "6.30"],
        ["| 1", "200", "4.0", "6.30"],
        ["| 500", "0", "4.0", "6.30"],
        ["| 500", "200", "4.0", "6.30"],
    ]


def test_the_summary_has_a_row_for_each_rate_and_a_column_for_each_wait() -> None:
    """Each cell has the write units, the calls and the median of its own run."""
    some = result_of("x")
    results = [
        replace(some, workload=f"{rate}/s", title=wait, latencies_ms=[float(wait) + rate] * 3)
        for wait in ("0", "1000")
        for rate in (1, 500)
    ]
    header, _, *rows = summary(results).splitlines()
    assert header == "| commands/s | wait 0 ms | wait 1,000 ms |"
    cost = f"{some.write_units:.2f}, {some.calls:.2f}"
    assert rows == [
        f"| 1 | {cost}, 1 | {cost}, 1001 |",
        f"| 500 | {cost}, 500 | {cost}, 1500 |",
    ]


def test_percentiles_stand_for_many_latencies() -> None:
    """A table of the percentiles is the table of all values."""
    values = [float(number * number % 7_919) for number in range(6_000)]
    few = percentiles(values)
    assert len(few) == 101
    for percent in (1, 50, 99):
        rows = [Row([replace(result_of("x"), latencies_ms=each)]) for each in (values, few)]
        assert rows[0].latency(percent) == rows[1].latency(percent)
    assert percentiles(values[:30]) == values[:30]
