"""Every block of code on the pages is checked, in one of the ways of `pages.py`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.checks import check, check_mention
from tests.docs.pages import ROOT, blocks, mentions
from tests.docs.programs import OURS
from tests.docs.python import World

BLOCKS = blocks()
pytestmark = pytest.mark.xdist_group("pages")  # one process has their AWS


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS}))
def test_the_blocks_of_a_page_are_what_they_say(
    page: str, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page's code works when it is copied from top to bottom, as far as a test can check."""
    monkeypatch.chdir(tmp_path)
    wrong = []
    for block in BLOCKS:
        if block.page == page:
            try:
                check(block, tmp_path, world)
            except Exception as error:  # noqa: BLE001  # whatever a block raises is what is wrong
                wrong.append(f"{block.where}: {type(error).__name__}: {str(error)[:500]}")
    assert not wrong, "\n".join(wrong)


def test_every_fence_is_found() -> None:
    """No block is skipped because it is written in another form."""
    for page in {block.page for block in BLOCKS}:
        fences = re.findall(r"^[ \t]*(?:```|~~~)", (ROOT / page).read_text(), re.MULTILINE)
        assert len(fences) == 2 * len([block for block in BLOCKS if block.page == page]), page


def test_what_sentences_name_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands have these names and options, filters match events, and calls fit the client."""
    monkeypatch.chdir(tmp_path)
    wrong = []
    assert len([each for each in mentions() if OURS.match(each.text)]) > 40
    for mention in mentions():
        try:
            check_mention(mention.text, tmp_path)
        except Exception as error:  # noqa: BLE001  # whatever is raised is what is wrong
            wrong.append(f"{mention.where}: {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)


def test_the_index_links_to_every_page() -> None:
    """The README links to the index, which has every page; decisions have a list of their own."""
    docs = ROOT / "docs"
    index = (docs / "README.md").read_text()
    assert "](docs/README.md)" in (ROOT / "README.md").read_text()
    for page in docs.rglob("*.md"):
        path = str(page.relative_to(docs))
        if path != "README.md" and not path.startswith("adr/0"):
            assert f"]({path})" in index, path


def test_every_page_has_one_of_the_four_kinds() -> None:
    """A reader knows from the folder whether a page teaches, instructs, lists or explains."""
    folders = {page.parent.name for page in (ROOT / "docs").rglob("*.md")}
    assert folders == {"docs", "tutorial", "how-to", "reference", "explanation", "adr"}


@pytest.mark.parametrize(
    "page",
    sorted(page for page in (ROOT / "docs").rglob("*.md") if not page.name.startswith("0")),
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_a_page_states_its_reader_and_its_question_first(page: Path) -> None:
    """The first paragraph says for whom the page is, and what it answers."""
    paragraphs = page.read_text().split("\n\n")
    first = next(text for text in paragraphs if not re.match(r"#|<!-- fmt", text))
    assert first.startswith("For ")
    assert "?" in first
