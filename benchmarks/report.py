"""The results as Markdown tables: medians over the rounds, with minimum and maximum."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

from benchmarks import light_load, targets
from benchmarks.measuring import Idle
from benchmarks.rows import Row, markdown, rows_of
from benchmarks.sections import Section
from benchmarks.workload import MIX, REGISTERING, UPDATING

PERCENT = 100


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
    """Render everything as Markdown."""
    found = {section.key: section for section in sections}
    parts = [heading(about, sections)]
    side = found["side-by-side"]
    parts.append(f"## Side by side, on {side.dynamodb}")
    for workload in (REGISTERING, UPDATING, MIX):
        rows = rows_of(side, workload)
        columns = (*WORK, LATENCY, MEMORY, START) if workload == REGISTERING else WORK
        parts.append(f"### {workload.capitalize()}\n\n{table(columns, rows.values())}")
    parts.append(f"### Targets (this worker with 2 processes)\n\n{targets.render(found)}")
    if section := found.get("without-emulator"):
        rows = rows_of(section, REGISTERING)
        parts.append(
            f"## No emulator in the way: registrations, DynamoDB stands for {section.dynamodb}\n\n"
            + table((WHO, RATE, CPU, CALLS, SERVERS, BUSY, OTHERS), rows.values())
        )
    if section := found.get("aws-latency"):
        rows = rows_of(section, REGISTERING)
        parts.append(
            "## At AWS's latency: registrations, 5 to 15 ms a call, DynamoDB stands for "
            f"{section.dynamodb}\n\n"
            + table((WHO, RATE, CPU, BUSY, OTHERS, LATENCY, MEMORY), rows.values())
        )
    if section := found.get("light-load"):
        parts.append(
            "## Light load: registrations that arrive at random, 5 to 15 ms a call\n\n"
            + _measured_separately(section)
            + light_load.render(section.results)
        )
    if section := found.get("idle"):
        [some, *_] = section.idle
        parts.append(f"## Idle, for {some.seconds:g} s\n\n")
        parts[-1] += _measured_separately(section) + idle_table(section.idle)
    if section := found.get("users"):
        for workload in (REGISTERING, UPDATING):
            columns = (("at the start", WHO[1]), *WORK[1:])
            written = table(columns, rows_of(section, workload).values())
            parts.append(f"## Users in the table: {workload}, this worker\n\n{written}")
    return "\n\n".join(parts) + "\n"


def _measured_separately(section: Section) -> str:
    """Render command, place and time of a section that was not measured with the others."""
    if not (about := section.about):
        return ""
    return (
        f"Measured separately: `{about['command']}`, {about['date']}, commit {about['commit']}, "
        f"{about['cores']} cores of {about['processor']}.\n\n"
    )


def heading(about: dict[str, Any], sections: Sequence[Section]) -> str:
    """Render command, place and time of the run, and the load of the machine."""
    others = median(result.others for section in sections for result in section.results)
    return (
        f"# Benchmark results\n\n`{about['command']}`, {about['date']}, "
        f"{about['minutes']} minutes, commit {about['commit']}, Python {about['python']}, "
        f"{about['cores']} cores of {about['processor']}; everything else on the machine used "
        f"{PERCENT * others:.0f}% of them meanwhile.\n"
        "Medians over the rounds (least-most). How to read it: docs/explanation/benchmark.md."
    )


def table(columns: Sequence[Column], rows: Iterable[Row]) -> str:
    """Render rows as a Markdown table."""
    return markdown(
        [title for title, _ in columns], ([write(row) for _, write in columns] for row in rows)
    )


def idle_table(idle: Sequence[Idle]) -> str:
    """Render what the contestants did while idle."""
    heads = ("contestant", "processes", "ReceiveMessage calls in 20 s", "CPU % of a core", "MB")
    rows = (
        (
            *(each.title, str(each.processes), f"{each.receives:.1f}"),
            *(f"{each.cpu_percent:.3f}", f"{each.memory_mb:.0f}"),
        )
        for each in idle
    )
    return markdown(heads, rows)
