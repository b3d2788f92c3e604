"""The figures that pages quote are those of the committed run of the benchmark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUOTED = re.compile(
    r"<!-- from benchmarks/results/summary\.md -->\n(.*?)<!-- end of it -->", re.DOTALL
)


@pytest.mark.parametrize("page", ["README.md", "docs/benchmark.md"])
def test_every_row_that_a_page_quotes_is_in_the_summary(page: str) -> None:
    """A new run of the benchmark has to be quoted anew."""
    summary = (ROOT / "benchmarks/results/summary.md").read_text().splitlines()
    [quoted] = QUOTED.findall((ROOT / page).read_text())
    rows = [line for line in quoted.splitlines() if line.startswith("|")]
    assert len(rows) > 4
    assert [row for row in rows if row not in summary] == []
