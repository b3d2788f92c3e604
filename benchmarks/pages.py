"""Update the benchmark figures that pages quote: `python -m benchmarks.pages`.

It measures nothing: it reads benchmarks/results/results.json and what `python -m benchmarks.scale`
computes. It writes these parts of a page, and nothing else:

    <!-- table NAME --> ... <!-- end of table -->
        the table of that name, whole
    <!-- from benchmarks/results/summary.md --> ... <!-- end of it -->
        in the tables there, each row of a contestant, from the table with the same header
    <!--=NAME-->1.10<!--=-->
        a figure in a sentence, or in a cell; not at the start of a line, where Markdown takes
        a comment for a block of HTML
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from benchmarks import light_load, targets
from benchmarks.arguments import BenchmarkError, OneLineParser, errors_in_one_line
from benchmarks.figures import figures
from benchmarks.measuring import Result
from benchmarks.results_file import RESULTS, read_results, rendered
from benchmarks.results_file import SUMMARY as SUMMARY_FILE
from benchmarks.scale.inputs import Inputs
from benchmarks.scale.tables import TABLES
from benchmarks.sections import Section

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = (
    "README.md",
    "docs/explanation/benchmark.md",
    "docs/explanation/scaling.md",
    "docs/how-to/migrations.md",
    "benchmarks/README.md",
    "benchmarks/results/scale.md",
)
TABLE: Final = re.compile(r"(<!-- table (\w+) -->\n).*?(\n<!-- end of table -->)", re.DOTALL)
ROWS: Final = re.compile(
    r"(?<=<!-- from benchmarks/results/summary\.md -->\n).*?(?=<!-- end of it -->)", re.DOTALL
)
FIGURE: Final = re.compile(r"(<!--=([\w-]+)-->).*?(<!--=-->)", re.DOTALL)
AT_START: Final = re.compile(r"^\s*(?:[-*>]\s+)?<!--=[\w-]+-->.*", re.MULTILINE)


def renew(root: Path = ROOT) -> list[str]:
    """Write the rendered results and the pages; return the names of the changed files.

    Raises:
        BenchmarkError: A page quotes an unknown table or figure.
    """
    new = {
        str((RESULTS / name).relative_to(ROOT)): text
        for name, text in rendered(*read_results()).items()
    }
    new |= {page: render(page, (root / page).read_text()) for page in PAGES}
    changed = [name for name, text in new.items() if (root / name).read_text() != text]
    for name in changed:
        (root / name).write_text(new[name])
    return changed


def render(page: str, text: str) -> str:
    """Return a page's text with current tables and figures.

    Raises:
        BenchmarkError: The page quotes an unknown table or figure.
    """
    if wrong := AT_START.search(text):
        raise BenchmarkError(f"{page}: a line must not start with a figure: {wrong[0].strip()}")

    def table(found: re.Match[str]) -> str:
        return found[1] + _known(page, "table", found[2], _tables()) + found[3]

    def figure(found: re.Match[str]) -> str:
        return found[1] + _known(page, "figure", found[2], _figures()) + found[3]

    text = TABLE.sub(table, text)
    text = ROWS.sub(lambda found: _renew_rows(page, found[0]), text)
    return FIGURE.sub(figure, text)


def _known(page: str, kind: str, name: str, texts: Mapping[str, str]) -> str:
    if name not in texts:
        raise BenchmarkError(f"{page}: there is no {kind} {name}")
    return texts[name]


def _renew_rows(page: str, block: str) -> str:
    """Return a block of text and tables with each row as in the summary."""
    lines, header = [], ""
    for line in block.splitlines():
        if not line.startswith("|"):
            header = ""
        elif not header:
            header = line
        elif not line.startswith("| ---"):
            key = header, line.split("|")[1]
            if key not in _summary_rows():
                raise BenchmarkError(
                    f"{page}: the summary of the run has no row{key[1]}under {header}"
                )
            lines.append(_summary_rows()[key])
            continue
        lines.append(line)
    return "\n".join(lines) + "\n"


@cache
def _summary_rows() -> dict[tuple[str, str], str]:
    """Return the rows of the summary, by the header of their table and their first cell."""
    rows, header = dict[tuple[str, str], str](), ""
    for line in rendered(*read_results())[SUMMARY_FILE].splitlines():
        if not line.startswith("|"):
            header = ""
        elif not header:
            header = line
        else:
            rows[header, line.split("|")[1]] = line
    return rows


@cache
def _tables() -> dict[str, str]:
    inputs = Inputs.read()
    _, sections = read_results()
    return {
        **{name: compute(inputs) for name, compute in TABLES.items()},
        "targets": targets.render({section.key: section for section in sections}),
        "light": light_load.summary(_results("light-load", sections)),
    }


def _results(key: str, sections: Sequence[Section]) -> Sequence[Result]:
    return [result for section in sections if section.key == key for result in section.results]


@cache
def _figures() -> dict[str, str]:
    return figures()


def main() -> None:
    """Update the files, and print which have changed."""
    parser = OneLineParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.parse_args()
    with errors_in_one_line(parser.prog):
        print("\n".join(renew()) or "nothing has changed")


if __name__ == "__main__":
    main()
