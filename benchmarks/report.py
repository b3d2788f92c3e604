"""The results as Markdown tables: medians over the rounds, with least and most."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from benchmarks.measuring import Result
from benchmarks.sections import Section
from benchmarks.workload import MIX, REGISTERING, UPDATING

WORKER, CELERY, FLOOR = "worker-prefork-2", "celery-2", "floor-2"
PERCENT = 100
MIN_FOR_QUANTILES = 2


@dataclass(frozen=True, slots=True)
class Row:
    """All rounds of one contestant with one workload."""

    results: Sequence[Result]

    def median(self, figure: str) -> float:
        """Give the median of a figure over the rounds."""
        values: list[float] = [getattr(result, figure) for result in self.results]
        return median(values)

    def spread(self, figure: str, digits: int = 0) -> str:
        """Write median, least and most."""
        values = [getattr(result, figure) for result in self.results]
        if len(values) == 1:
            return f"{values[0]:,.{digits}f}"
        least, most = min(values), max(values)
        return f"{median(values):,.{digits}f} ({least:,.{digits}f}-{most:,.{digits}f})"

    def latency(self, percent: int) -> str:
        """Write a percentile of the light load's latencies, all rounds together."""
        values = [value for result in self.results for value in result.latencies_ms]
        if len(values) < MIN_FOR_QUANTILES:
            return "-"
        return f"{quantiles(values, n=100, method='inclusive')[percent - 1]:.0f}"


Column = tuple[str, Callable[[Row], str]]
WHO: Column = ("contestant", lambda row: row.results[0].title)
RATE: Column = ("commands/s", lambda row: row.spread("per_second"))
CPU: Column = ("CPU ms a command", lambda row: row.spread("cpu_ms", 2))
SERVERS: Column = ("emulators' CPU ms", lambda row: f"{row.median('servers_cpu_ms'):.2f}")
OTHERS: Column = ("by others", lambda row: f"{PERCENT * row.median('others'):.0f}%")
BUSY: Column = ("cores busy", lambda row: f"{PERCENT * row.median('busy'):.0f}%")
CALLS: Column = ("AWS calls a command", lambda row: f"{row.median('calls'):.2f}")
UNITS: Column = ("write units a command", lambda row: f"{row.median('write_units'):.1f}")
LATENCY: Column = ("p50 / p99 ms, light load", lambda row: f"{row.latency(50)} / {row.latency(99)}")
MEMORY: Column = ("memory MB", lambda row: f"{row.median('memory_mb'):.0f}")
START: Column = ("start s", lambda row: f"{row.median('start_seconds'):.1f}")
WORK = (WHO, RATE, CPU, CALLS, UNITS, SERVERS, BUSY, OTHERS)


def render(about: dict[str, Any], sections: Sequence[Section]) -> str:
    """Write everything as Markdown."""
    found = {section.key: section for section in sections}
    others = median(result.others for section in sections for result in section.results)
    parts = [_heading(about, others)]
    side = found["side-by-side"]
    parts.append(f"## Side by side, on {side.dynamodb}")
    for workload in (REGISTERING, UPDATING, MIX):
        rows = rows_of(side, workload)
        columns = (*WORK, LATENCY, MEMORY, START) if workload == REGISTERING else WORK
        parts.append(f"### {workload.capitalize()}\n\n{_table(columns, rows.values())}")
    parts.append(_targets(found))
    if section := found.get("without-emulator"):
        rows = rows_of(section, REGISTERING)
        parts.append(
            f"## No emulator in the way: registrations, DynamoDB stands for {section.dynamodb}\n\n"
            + _table((WHO, RATE, CPU, CALLS, SERVERS, BUSY, OTHERS), rows.values())
        )
    if section := found.get("scaling"):
        rows = rows_of(section, REGISTERING)
        parts.append(
            "## Scaling: registrations, 5 to 15 ms a call, DynamoDB stands for "
            f"{section.dynamodb}\n\n"
            + _table((WHO, RATE, CPU, BUSY, OTHERS, LATENCY), rows.values())
        )
    if section := found.get("users"):
        for workload in (REGISTERING, UPDATING):
            columns = (("at the start", WHO[1]), *WORK[1:])
            table = _table(columns, rows_of(section, workload).values())
            parts.append(f"## Users in the table: {workload}, this worker\n\n{table}")
    return "\n\n".join(parts) + "\n"


def _heading(about: dict[str, Any], others: float) -> str:
    return (
        f"# Benchmark results\n\n`{about['command']}`, {about['date']}, "
        f"{about['minutes']} minutes, commit {about['commit']}, Python {about['python']}, "
        f"{about['cores']} cores of {about['processor']}; everything else on the machine used "
        f"{PERCENT * others:.0f}% of them meanwhile.\n"
        "Medians over the rounds (least-most). How to read it: docs/benchmark.md."
    )


def rows_of(section: Section, workload: str) -> dict[str, Row]:
    """Give the rounds of each contestant with a workload, by its key."""
    rows: dict[str, list[Result]] = {}
    for result in section.results:
        if result.workload == workload:
            rows.setdefault(result.contestant, []).append(result)
    return {key: Row(results) for key, results in rows.items()}


def _table(columns: Sequence[Column], rows: Iterable[Row]) -> str:
    lines = [[title for title, _ in columns], ["---"] + ["--:"] * (len(columns) - 1)]
    lines += [[write(row) for _, write in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# --- targets -------------------------------------------------------------------------------


def _targets(found: dict[str, Section]) -> str:
    """Compare with the targets, whether they are met or not."""
    registering = rows_of(found["side-by-side"], REGISTERING)
    updating = rows_of(found["side-by-side"], UPDATING)
    worker, celery, floor = (registering[key] for key in (WORKER, CELERY, FLOOR))
    lines = [
        ("throughput, of plain Celery's (tuned)", "10", _ratio(worker, celery, "per_second")),
        ("throughput, of the floor's", "0.85", _ratio(worker, floor, "per_second")),
        ("CPU a command, of plain Celery's", "0.17 at most", _ratio(worker, celery, "cpu_ms")),
        ("AWS calls a command", "0.65 at most", worker.median("calls")),
        ("write units a registration", "6.3", worker.median("write_units")),
        ("write units an update", "4.3", updating[WORKER].median("write_units")),
    ]
    if section := found.get("without-emulator"):
        rows = rows_of(section, REGISTERING)
        name = "the same without an emulator: throughput, of"
        lines.append(
            (f"{name} plain Celery's", "10", _ratio(rows[WORKER], rows[CELERY], "per_second"))
        )
        lines.append(
            (f"{name} the floor's", "0.85", _ratio(rows[WORKER], rows[FLOOR], "per_second"))
        )
    if section := found.get("scaling"):
        rows = rows_of(section, REGISTERING)
        scaled = _ratio(rows[WORKER], rows["worker-prefork-1"], "per_second")
        lines.append(("throughput, two processes of one, at AWS's latency", "1.8", scaled))
    if section := found.get("users"):
        rows = rows_of(section, UPDATING)
        few, *_, many = rows.values()
        lines.append(("CPU an update, most users of fewest", "1", _ratio(many, few, "cpu_ms")))
    written = "\n".join(f"| {name} | {target} | {value:.2f} |" for name, target, value in lines)
    head = "### Targets (this worker with 2 processes)\n\n| | target | here |\n|---|--:|--:|"
    return f"{head}\n{written}"


def _ratio(row: Row, other: Row, figure: str) -> float:
    return row.median(figure) / other.median(figure)
