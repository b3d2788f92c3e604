"""All rounds of a contestant with a workload."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING

from benchmarks.measuring import Result

if TYPE_CHECKING:
    from benchmarks.sections import Section

MIN_FOR_QUANTILES = 2


@dataclass(frozen=True, slots=True)
class Row:
    """All rounds of one contestant with one workload."""

    results: Sequence[Result]

    def median(self, figure: str) -> float:
        """Return the median of a figure over the rounds."""
        values: list[float] = [getattr(result, figure) for result in self.results]
        return median(values)

    def spread(self, figure: str, digits: int = 0) -> str:
        """Render median, minimum and maximum."""
        values = [getattr(result, figure) for result in self.results]
        if len(values) == 1:
            return f"{values[0]:,.{digits}f}"
        least, most = min(values), max(values)
        return f"{median(values):,.{digits}f} ({least:,.{digits}f}-{most:,.{digits}f})"

    def latency(self, percent: int) -> str:
        """Render a percentile of the light load's latencies over all rounds."""
        values = self.latencies_ms
        if len(values) < MIN_FOR_QUANTILES:
            return "-"
        return f"{quantiles(values, n=100, method='inclusive')[percent - 1]:.0f}"

    @property
    def latencies_ms(self) -> list[float]:
        """Return the light load's latencies of all rounds."""
        return [value for result in self.results for value in result.latencies_ms]


def rows_of(section: Section, workload: str) -> dict[str, Row]:
    """Return the rounds of each contestant with a workload, by the contestant's key."""
    rows: dict[str, list[Result]] = {}
    for result in section.results:
        if result.workload == workload:
            rows.setdefault(result.contestant, []).append(result)
    return {key: Row(results) for key, results in rows.items()}


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Render a Markdown table; all columns but the first are right-aligned."""
    lines = [heads, ["---"] + ["--:"] * (len(heads) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
