from __future__ import annotations

import re
from pathlib import Path

import pytest

from worker.telemetry.configuration import EXPORTERS, HOST, PORT
from worker.telemetry.instruments import CATALOGUE, Instrument, Kind

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "telemetry.md").read_text()
METRICS = (ROOT / "docs" / "reference" / "metrics.md").read_text()
ROWS = {
    match[1]: (match[2], match[3] or "")
    for match in re.finditer(
        r"^- `([a-z_.]+)`, (\w+)(?:, s)?(?: \(([a-z_., ]+)\))?: ", METRICS, re.MULTILINE
    )
}


@pytest.mark.parametrize("instrument", CATALOGUE, ids=lambda each: each.name)
def test_the_page_lists_every_metric(instrument: Instrument) -> None:
    """With its kind and its labels, in their order."""
    kind, labels = ROWS[instrument.name]
    assert Kind[kind.upper()] is instrument.kind
    assert labels == ", ".join(instrument.labels)


def test_the_page_lists_no_other_metric() -> None:
    """Renamed metrics are removed from the page."""
    assert ROWS.keys() == {each.name for each in CATALOGUE}


def test_the_page_lists_the_variables_that_enable_it() -> None:
    """Every exporter by its name, and the address of the Prometheus endpoint."""
    for variable, exporters in EXPORTERS.items():
        assert f"`{variable}`" in PAGE
        for exporter in exporters:
            assert f"`{exporter}`" in PAGE
    for variable in (HOST, PORT):
        assert f"`{variable}`" in PAGE
