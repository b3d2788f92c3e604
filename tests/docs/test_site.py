"""The site of the pages, built as `make docs` builds it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from scripts import docs_site

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.xdist_group("site")  # one process builds it
ATTRIBUTES = {("link", "href"), ("img", "src"), ("script", "src"), ("iframe", "src")}


class Loaded(HTMLParser):
    """Collects what a browser loads to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the address, unless the element only names one."""
        for name, value in attrs:
            if (tag, name) in ATTRIBUTES and value and ("rel", "canonical") not in attrs:
                self.addresses.append(value)


def test_every_page_of_the_repository_is_on_the_site(site: Path) -> None:
    """No page is missing, and the README is the start page."""
    for page in (ROOT / "docs").rglob("*.md"):
        built = docs_site.place(str(page.relative_to(ROOT))).removesuffix(".md")
        assert (site / f"{built}.html").exists(), page
    title = re.search(r"^# (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert title
    assert f'id="{title[1].lower().replace(" ", "-")}"' in (site / "index.html").read_text()


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    """It works without a network, and does not reveal its readers to other servers."""
    pages = list(site.rglob("*.html"))
    assert pages
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text())
        assert loaded.addresses
        for address in loaded.addresses:
            assert not re.match(r"(\w+:)?//", address), f"{page.name}: {address}"
            if page.name != "404.html":  # shown at any depth
                assert (page.parent / address.split("?")[0]).exists(), f"{page.name}: {address}"
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import\s*)[\"']?(\w+:)?//", style.read_text()), style


def test_the_search_finds_a_word_without_a_server(site: Path) -> None:
    """The index is a script beside the pages; pages that show a file are not in it."""
    script = (site / "search" / "search_index.js").read_text()
    index = json.loads(script.removeprefix("var __index = "))
    found = [each["location"] for each in index["docs"] if "tombstone" in each["text"]]
    assert any(place.startswith("reference/table.html") for place in found)
    assert not [each for each in index["docs"] if each["location"].startswith("source/")]


def test_the_search_lists_decisions_after_pages_and_definitions_first(site: Path) -> None:
    """The search ranks the other pages above the decisions."""
    script = (site / "search" / "search_index.js").read_text()
    pages = json.loads(script.removeprefix("var __index = "))["docs"]
    boosts = {each["location"].partition(".html")[0]: each.get("boost", 1) for each in pages}
    assert boosts["adr/0004-outbox-pointer-and-relay"] < 1 == boosts["how-to/dead-letters"]
    assert boosts["changelog"] < 1 < boosts["reference/glossary"]


TERMS = (
    "acknowledge",
    "at least once",
    "back-off",
    "circuit breaker",
    "correlation id",
    "dead letter",
    "fair queue",
    "idempotency key",
    "jitter",
    "optimistic locking",
    "outbox",
    "poison message",
    "quarantine queue",
    "redrive",
    "relay",
    "replay",
    "visibility timeout",
)


@pytest.mark.parametrize("term", TERMS)
def test_the_search_leads_to_the_definition_of_a_term(site: Path, term: str) -> None:
    """A standard term of the field is in the glossary's index, as the first words of a line."""
    script = (site / "search" / "search_index.js").read_text()
    index = json.loads(script.removeprefix("var __index = "))
    glossary = [each for each in index["docs"] if each["location"].startswith("reference/glossary")]
    assert any(term in each["text"].lower() for each in glossary)
    rows = (ROOT / "docs" / "reference" / "glossary.md").read_text().lower()
    assert re.search(rf"^- \*\*[^*]*\b{term}\b[^*]*\*\*:", rows, re.MULTILINE), term


# --- how pages are laid out ----------------------------------------------------------------


def laid_out(tmp_path: Path, files: dict[str, str], *pages: str) -> Path:
    """Lay out pages of a repository with these files; return the folder."""
    for name, text in files.items():
        file = tmp_path / "repository" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    target = tmp_path / "pages"
    docs_site.Site(tmp_path / "repository", target).stage(list(pages))
    return target


@pytest.mark.parametrize(
    ("page", "link", "led"),
    [
        ("README.md", "docs/a.md#b", "a.md#b"),
        ("README.md", "#here", "#here"),
        ("README.md", "https://example.com/a.md", "https://example.com/a.md"),
        ("README.md", "examples", "examples.md"),
        ("README.md", "worker/b.py", "source/worker/b.py.md"),
        ("README.md", "worker", "source/worker.md"),
        ("docs/a.md", "../README.md#x", "index.md#x"),
        ("docs/a.md", "../worker/b.py", "source/worker/b.py.md"),
        ("docs/adr/README.md", "../a.md", "../a.md"),
        ("docs/adr/README.md", "../../README.md", "../index.md"),
    ],
)
def test_a_link_is_led_to_where_its_target_lies(
    tmp_path: Path, page: str, link: str, led: str
) -> None:
    """The same link works in the repository and on the site."""
    files = {"README.md": "", "docs/a.md": "", "examples/README.md": "", "worker/b.py": "B = 1\n"}
    target = laid_out(tmp_path, {**files, page: f"see [it `x`]({link}).\n"}, page)

    assert (target / docs_site.place(page)).read_text() == f"see [it `x`]({led}).\n"
    if "://" not in led and not led.startswith("#"):
        assert ((target / docs_site.place(page)).parent / led.partition("#")[0]).exists()


def test_code_is_not_changed(tmp_path: Path) -> None:
    """Text between fences is never a link."""
    text = "```python\nnames[0](argument)\n```\n\n  ~~~\n[a](b)\n  ~~~\n"
    target = laid_out(tmp_path, {"README.md": text}, "README.md")
    assert (target / "index.md").read_text() == text


@pytest.mark.parametrize("link", ["nothing.md", "../outside", "docs/nothing.md#a"])
def test_a_link_to_nothing_is_an_error(tmp_path: Path, link: str) -> None:
    """The error names the page and the link."""
    with pytest.raises(docs_site.BrokenLinkError, match=f"README.md: there is no {link[:8]}"):
        laid_out(tmp_path, {"README.md": f"[a]({link})"}, "README.md")


def test_a_missing_page_in_the_navigation_is_an_error(tmp_path: Path) -> None:
    """It is not skipped silently, because a renamed page would not be noticed."""
    (tmp_path / "README.md").write_text("# Start\n")
    (tmp_path / "mkdocs.yml").write_text("nav:\n  - README.md\n  - More:\n      - docs/gone.md\n")
    with pytest.raises(docs_site.BrokenLinkError, match=r"mkdocs\.yml: there is no docs/gone\.md"):
        docs_site.build(tmp_path, tmp_path / "out")
