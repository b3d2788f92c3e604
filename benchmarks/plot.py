"""The results as a picture: horizontal bars, as SVG, which needs no library."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchmarks.measuring import Result
from benchmarks.report import Row, rows_of
from benchmarks.sections import Section
from benchmarks.workload import REGISTERING

WIDTH, LABELS, NUMBERS = 900, 400, 90
BAR, GAP, TITLE = 18, 8, 44
OURS, OTHERS, BOUND = "#1f6feb", "#8b949e", "#d0d7de"


def render(sections: Sequence[Section]) -> str:
    """Draw registrations a second and processor time a registration, side by side."""
    [side] = [section for section in sections if section.key == "side-by-side"]
    rows = list(rows_of(side, REGISTERING).values())
    first, height = _chart("Registrations a second", "per_second", rows, 0, 0)
    timed = [row for row in rows if row.results[0].contestant != "ceiling"]
    second, total = _chart("Processor ms a registration", "cpu_ms", timed, height, 2)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{total}" '
        f'viewBox="0 0 {WIDTH} {total}" font-family="sans-serif" font-size="13">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{first}{second}</svg>\n'
    )


def _chart(title: str, figure: str, rows: Sequence[Row], top: int, digits: int) -> tuple[str, int]:
    """Draw one chart; give it and where it ends."""
    most = max(max(_values(row, figure)) for row in rows)
    scale = (WIDTH - LABELS - NUMBERS) / most
    parts = [f'<text x="12" y="{top + 28}" font-size="16" font-weight="bold">{title}</text>']
    for place, row in enumerate(rows):
        y = top + TITLE + place * (BAR + GAP)
        values, text = _values(row, figure), y + BAR - 5
        length = row.median(figure) * scale
        low, high = (LABELS + value * scale for value in (min(values), max(values)))
        parts += [
            f'<text x="{LABELS - 8}" y="{text}" text-anchor="end">{escape(_title(row))}</text>',
            _bar(y, length, _colour(row.results[0])),
            f'<path d="M{low:.1f} {y + BAR / 2}H{high:.1f}" stroke="#24292f" stroke-width="2"/>',
            f'<text x="{high + 6:.1f}" y="{text}">{row.median(figure):,.{digits}f}</text>',
        ]
    return "\n".join(parts) + "\n", top + TITLE + len(rows) * (BAR + GAP) + GAP


def _bar(y: int, length: float, colour: str) -> str:
    place = f'x="{LABELS}" y="{y}" width="{length:.1f}" height="{BAR}"'
    return f'<rect {place} fill="{colour}"/>'


def _values(row: Row, figure: str) -> list[float]:
    return [getattr(result, figure) for result in row.results]


def _title(row: Row) -> str:
    return row.results[0].title.replace(": the same calls as ready bytes", "")


def _colour(result: Result) -> str:
    if result.contestant.startswith("worker"):
        return OURS
    return BOUND if result.contestant.startswith(("floor", "ceiling")) else OTHERS
