"""The glossary links to files that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "glossary.md").read_text()
ROWS = re.findall(r"^- \*\*([^*]+)\*\*: (.+) \(`([^`]+)`\)$", PAGE, re.MULTILINE)


def test_it_has_terms() -> None:
    """No term is listed twice."""
    terms = [term for term, _, _ in ROWS]
    assert len(terms) > 30
    assert len(terms) == len(set(terms))


def test_each_term_leads_to_a_file_that_is_there() -> None:
    """A reader can open it."""
    assert [file for _, _, file in ROWS if not (ROOT / file).is_file()] == []


def test_every_row_is_a_term() -> None:
    """A row in another form would not be checked."""
    rows = [line for line in PAGE.splitlines() if line.startswith(("- ", "|"))]
    assert len(rows) == len(ROWS)
