"""The results in brief, for a page with little room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import targets
from benchmarks.report import CALLS, LATENCY, MEMORY, UNITS, WHO, Column, heading, idle_table, table
from benchmarks.rows import Row, rows_of
from benchmarks.sections import Section
from benchmarks.targets import CELERY
from benchmarks.workload import REGISTERING


def render(about: dict[str, Any], sections: Sequence[Section]) -> str:
    """Render rates and costs of the contestants, the choice of a pool, and the targets."""
    found = {section.key: section for section in sections}
    rows = rows_of(found["side-by-side"], REGISTERING)
    parts = [heading(about, sections)]
    columns = (WHO, *_compared(rows), CALLS, UNITS, LATENCY, MEMORY)
    parts.append(f"## Registrations, on {found['side-by-side'].dynamodb}\n\n")
    parts[-1] += table(columns, rows.values())
    if section := found.get("aws-latency"):
        rows = rows_of(section, REGISTERING)
        columns = (WHO, *_compared(rows), LATENCY, MEMORY)
        parts.append(f"## At AWS's latency\n\n{table(columns, rows.values())}")
    if section := found.get("idle"):
        parts.append(f"## Idle\n\n{idle_table(section.idle)}")
    parts.append(f"## Targets\n\n{targets.render(found)}")
    return "\n\n".join(parts) + "\n"


def _compared(rows: Mapping[str, Row]) -> tuple[Column, ...]:
    """Return the columns of rate and processor time, each with its ratio to plain Celery's."""
    celery = rows[CELERY]

    def beside(figure: str, digits: int) -> Column:
        def write(row: Row) -> str:
            value = row.median(figure)
            return f"{value:,.{digits}f} ({ratio(value, celery.median(figure))})"

        title = "commands/s" if figure == "per_second" else "CPU ms a command"
        return f"{title} (of plain Celery's)", write

    return beside("per_second", 0), beside("cpu_ms", 2)


def ratio(value: float, base: float) -> str:
    """Render the ratio of a value to a base, with two significant digits."""
    times = value / base
    return f"{times:.0f}x" if times >= 10 else f"{times:.2g}x"  # noqa: PLR2004 - two digits
