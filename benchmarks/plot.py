"""The results as a picture: a row per contestant, with two bars. SVG needs no library."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchmarks.rows import Row, rows_of
from benchmarks.sections import Section
from benchmarks.summary import ratio
from benchmarks.targets import CELERY
from benchmarks.workload import REGISTERING

WIDTH, MARGIN, LABELS, BAR_WIDTH, NUMBERS = 1000, 16, 348, 190, 118
BAR, ROW, HEAD, FOOT = 14, 24, 62, 14
AT_LATENCY = (
    *("worker-prefork-2", "worker-prefork-4", "worker-threads-8", "worker-threads-16"),
    *("celery-2", "celery-4", "celery-threads-8", "floor-2"),
)
"""Contestants shown at AWS's latency; the table has all of them."""
SHORTER = (
    (": the same calls as ready bytes", ""),
    (" of the same calls", ""),
    (" on kombu's SQS", ""),
    (", same guarantees", ""),
)
# The background colour changes with the text colour, so that it is readable on any page.
STYLE = """
 text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328 }
 .title { font-size: 16px; font-weight: 600 } .ours { font-weight: 600 }
 .small { font-size: 12px; fill: #59636e }
 .page { fill: #ffffff } .rule { stroke: #d1d9e0 } .spread { stroke: #1f2328; stroke-width: 1.5 }
 .bar { fill: #afb8c1 } .bar.ours { fill: #0969da } .bar.bound { fill: #d8dee4 }
 @media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .small { fill: #9198a1 } .page { fill: #0d1117 } .rule { stroke: #3d444d }
  .spread { stroke: #f0f6fc } .bar { fill: #656c76 } .bar.ours { fill: #4493f8 }
  .bar.bound { fill: #3d444d }
 }"""


def render(sections: Sequence[Section]) -> str:
    """Draw registrations per second and processor time per registration, side by side."""
    found = {section.key: section for section in sections}
    side = found["side-by-side"]
    panels, height = _panel(f"Registrations, on {side.dynamodb}", rows_of(side, REGISTERING), 0)
    if section := found.get("aws-latency"):
        rows = rows_of(section, REGISTERING)
        rows = {key: rows[key] for key in AT_LATENCY if key in rows}
        title = "Registrations, at 5 to 15 ms a call, as on AWS"
        more, height = _panel(title, rows, height)
        panels += more
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" '
        'aria-label="Commands a second and processor time a command of each contestant">\n'
        f"<style>{STYLE}\n</style>\n"
        f'<rect class="page" width="100%" height="100%" rx="6"/>\n{panels}</svg>\n'
    )


def _panel(title: str, rows: dict[str, Row], top: int) -> tuple[str, int]:
    """Draw one section; return it and its lower edge."""
    rate_at, cpu_at = MARGIN + LABELS, MARGIN + LABELS + BAR_WIDTH + NUMBERS
    parts = [
        _text(MARGIN, top + 26, title, "title"),
        _text(rate_at, top + 50, "commands/s, and of plain Celery's (tuned, 2)", "small"),
        _text(cpu_at, top + 50, "CPU ms a command, and of its", "small"),
        f'<path class="rule" d="M{MARGIN} {top + 56}H{WIDTH - MARGIN}"/>',
    ]
    for place, (key, row) in enumerate(rows.items()):
        y = top + HEAD + place * ROW
        mark = "ours" if key.startswith("worker") else ""
        parts.append(_text(MARGIN, y + BAR - 1, _title(row), mark))
        parts.append(_bar(rows, key, "per_second", (rate_at, y)))
        if key != "ceiling":  # its calls cost nothing
            parts.append(_bar(rows, key, "cpu_ms", (cpu_at, y)))
    return "\n".join(parts) + "\n", top + HEAD + len(rows) * ROW + FOOT


def _bar(rows: dict[str, Row], key: str, figure: str, place: tuple[int, int]) -> str:
    x, y = place
    values = {k: [getattr(r, figure) for r in row.results] for k, row in rows.items()}
    scale = BAR_WIDTH / max(max(each) for each in values.values())
    value, celery = rows[key].median(figure), rows[CELERY].median(figure)
    low, high = (x + bound * scale for bound in (min(values[key]), max(values[key])))
    kind = "ours" if key.startswith("worker") else ""
    kind = "bound" if key.startswith(("floor", "ceiling")) else kind
    number = f"{value:,.0f}" if figure == "per_second" else f"{value:.2f}"
    return (
        f'<rect class="bar {kind}" x="{x}" y="{y}" width="{value * scale:.1f}" height="{BAR}" '
        f'rx="2"/><path class="spread" d="M{low:.1f} {y + BAR / 2:g}H{high:.1f}"/>'
        f'<text x="{high + 6:.1f}" y="{y + BAR - 2}" class="{kind}">{number}'
        f'<tspan class="small" dx="6">{ratio(value, celery)}</tspan></text>'
    )


def _text(x: int, y: int, text: str, kind: str) -> str:
    return f'<text x="{x}" y="{y}" class="{kind}">{escape(text)}</text>'


def _title(row: Row) -> str:
    title = row.results[0].title
    for long, short in SHORTER:
        title = title.replace(long, short)
    return title
