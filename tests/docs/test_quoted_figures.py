"""The tables and figures that pages quote are those of the committed run and of the model."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from benchmarks import pages
from benchmarks.arguments import BenchmarkError
from benchmarks.figures import figures
from benchmarks.results_file import RESULTS, read_results, rendered, write_results
from benchmarks.scale.tables import TABLES

# The model is computed once, by one process.
pytestmark = pytest.mark.xdist_group("quoted-figures")

ROOT = Path(__file__).parents[2]
TEXTS = {page: (ROOT / page).read_text() for page in pages.PAGES}
FROM = "<!-- from benchmarks/results/summary.md -->"
RENEW = "run `make bench-pages`"


@pytest.mark.parametrize("page", pages.PAGES)
def test_a_page_quotes_the_committed_results(page: str) -> None:
    """A change of the results, of the worker's calls, of a price or of a habit changes the page."""
    assert pages.render(page, TEXTS[page]) == TEXTS[page], RENEW


@pytest.mark.parametrize("name", ["results.md", "summary.md", "throughput.svg"])
def test_a_rendered_result_is_that_of_the_figures(name: str) -> None:
    """Tables and picture come from the committed JSON."""
    assert (RESULTS / name).read_text() == rendered(*read_results())[name], RENEW


def test_results_can_be_written_and_read_again(tmp_path: Path) -> None:
    """Every figure is preserved."""
    about, sections = read_results()
    write_results(tmp_path, about, sections)
    assert read_results(tmp_path) == (about, sections)


def test_every_table_of_the_model_is_quoted_once() -> None:
    """No table is computed without being used."""
    quoted = [name for text in TEXTS.values() for _, name, _ in pages.TABLE.findall(text)]
    assert sorted(quoted) == sorted([*TABLES, "light", "targets"])


def test_every_figure_is_quoted() -> None:
    """No figure is computed without being used."""
    quoted = {name for text in TEXTS.values() for _, name, _ in pages.FIGURE.findall(text)}
    assert quoted == figures().keys()


def test_a_figure_shows_in_the_text() -> None:
    """The marks are comments, so that a reader sees only the figure."""
    marked = "a command takes <!--=cpu-ms-->9.99<!--=--> ms."
    shown = re.sub(r"<!--.*?-->", "", pages.render("page", marked))
    assert shown == f"a command takes {figures()['cpu-ms']} ms."


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ms: <!--=nothing-->1<!--=-->", "page: there is no figure nothing"),
        ("<!-- table nothing -->\nx\n<!-- end of table -->", "page: there is no table nothing"),
        ("a line\n  <!--=cpu-ms-->1<!--=--> ms", "must not start with a figure"),
        (
            f"{FROM}\n| who | what |\n| --- | --: |\n| nobody | 1 |\n<!-- end of it -->",
            "page: the summary of the run has no row nobody under | who | what |",
        ),
    ],
)
def test_what_there_is_not_cannot_be_quoted(text: str, says: str) -> None:
    """The error names the page and what it quotes."""
    with pytest.raises(BenchmarkError, match=re.escape(says)):
        pages.render("page", text)


def test_stale_rows_tables_and_figures_are_renewed(tmp_path: Path) -> None:
    """Renewing pages with other digits gives the committed pages back."""
    for name in [*pages.PAGES, *(f"benchmarks/results/{file}" for file in rendered_names())]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for page, text in TEXTS.items():
        stale = pages.FIGURE.sub(r"\g<1>0\g<3>", text)
        stale = pages.TABLE.sub(r"\g<1>| old |\g<3>", stale)
        stale = pages.ROWS.sub(lambda found: re.sub(r"\d+%? \|", "0 |", found[0]), stale)
        assert stale != text
        (tmp_path / page).write_text(stale)
    assert pages.renew(tmp_path) == list(pages.PAGES)
    assert {page: (tmp_path / page).read_text() for page in pages.PAGES} == TEXTS
    assert pages.renew(tmp_path) == []


def rendered_names() -> list[str]:
    """Return the names of the files that are rendered from the figures."""
    return list(rendered(*read_results()))
