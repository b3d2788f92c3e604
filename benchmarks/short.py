"""The short form of the benchmark, for CI: it fails if a cost limit is clearly exceeded.

Its bounds are generous. They detect a benchmark that no longer runs and a worker that has become
several times as expensive, not a difference of some percent: for that, see
docs/explanation/benchmark.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measuring import no_event
from benchmarks.report import CALLS, CPU, RATE, WHO, table
from benchmarks.rows import Row, rows_of
from benchmarks.sections import Section
from benchmarks.targets import CELERY, WORKER
from benchmarks.workload import REGISTERING

MAX_CPU_RATIO = 0.25
"""Processor time per command, relative to plain Celery: twice that of the benchmark (0.13)."""


def render(section: Section) -> str:
    """Return a small table with a row for each contestant."""
    return table((WHO, RATE, CPU, CALLS), _rows(section).values())


def faults(section: Section) -> list[str]:
    """Return the faults, one text for each; an empty list if there are none."""
    rows = _rows(section)
    found = [
        f"{row.results[0].title}: "
        + no_event(missing, sum(result.commands for result in row.results))
        for row in rows.values()
        if (missing := sum(result.missing_events for result in row.results))
    ]
    if absent := [key for key in (WORKER, CELERY) if key not in rows]:
        return [*found, f"no result of {' and '.join(absent)}"]
    ratio = cpu_ratio(rows)
    if not ratio <= MAX_CPU_RATIO:  # also if it is not a number
        title = rows[WORKER].results[0].title
        found.append(
            f"{title}: {ratio:.2f} of plain Celery's CPU time a command, "
            f"more than {MAX_CPU_RATIO:g}"
        )
    return found


def summary(section: Section) -> str:
    """Return the result in one line, for a run without faults."""
    return (
        f"{cpu_ratio(_rows(section)):.2f} of plain Celery's CPU time a command "
        f"(at most {MAX_CPU_RATIO:g}), and an event for every command"
    )


def cpu_ratio(rows: Mapping[str, Row]) -> float:
    """Return this worker's processor time per command divided by plain Celery's, by medians."""
    theirs = rows[CELERY].median("cpu_ms")
    return rows[WORKER].median("cpu_ms") / theirs if theirs else float("nan")


def _rows(section: Section) -> dict[str, Row]:
    return rows_of(section, REGISTERING)
