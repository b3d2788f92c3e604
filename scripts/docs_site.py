"""Prepare the pages of this repository for MkDocs: `make docs` builds a site from them.

The pages stay as they are read in the repository, including README. Each page is copied to its
place on the site, with adapted links; a linked file or folder gets a page that shows it. A link
without a target is an error here; a page that is not in the navigation is a warning of MkDocs,
which `--strict` makes an error.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

import yaml
from mkdocs.utils.yaml import get_yaml_loader

ROOT: Final = Path(__file__).parents[1]
CONFIGURATION: Final = "mkdocs.yml"
DECISIONS: Final = "docs/adr/"
COPIED: Final = frozenset({".svg", ".png", ".html", ".css", ".js"})
"""Files that a browser shows by itself."""
LANGUAGES: Final = {".mjs": "js", ".py": "python", ".sh": "sh", ".json": "json", ".yml": "yaml"}
PLACES: Final = {
    "README.md": "index.md",
    "docs/README.md": "documentation.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "examples/README.md": "examples.md",
    "benchmarks/README.md": "benchmark-method.md",
    "contracts/README.md": "contracts.md",
    "clients/python/README.md": "client-python.md",
    "clients/typescript/README.md": "client-typescript.md",
}
"""Places on the site that do not follow from the path of the page."""
_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,}).*?^\1\2`*~*[ \t]*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?\[[^\]]*(?:\[[^\]]*\][^\]]*)?\]\()([^)\s]+)(\))")


class BrokenLinkError(Exception):
    """A page links to a missing file; the text names page and link."""


@dataclass(slots=True)
class Site:
    """The copies of the pages.

    Attributes:
        root: the repository.
        target: the folder that gets the copies; whatever was in it is removed.
    """

    root: Path
    target: Path
    _staged: set[str] = field(default_factory=set)
    _waiting: list[str] = field(default_factory=list)

    def stage(self, pages: list[str]) -> None:
        """Copy the pages, named by their paths in the repository, and everything that they link to.

        Raises:
            BrokenLinkError: A link leads to no file.
        """
        shutil.rmtree(self.target, ignore_errors=True)
        for page in pages:
            self._want(page)
        while self._waiting:
            self._write(self._waiting.pop())

    def _want(self, path: str) -> None:
        if path not in self._staged:
            self._staged.add(path)
            self._waiting.append(path)

    def _write(self, path: str) -> None:
        source, copy = self.root / path, self.target / place(path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix in COPIED:
            shutil.copyfile(source, copy)
        elif source.is_dir():
            copy.write_text(self._listing(path))
        elif source.suffix == ".md":
            copy.write_text(boosted(path) + self._led(path, source.read_text()))
        else:
            copy.write_text(shown(path, source.read_text()))

    def _led(self, path: str, text: str) -> str:
        """Return a page's text with its links changed to their targets' places on the site."""
        parts, start = [], 0
        for fence in _FENCE.finditer(text):
            parts += [self._links(path, text[start : fence.start()]), fence[0]]
            start = fence.end()
        return "".join([*parts, self._links(path, text[start:])])

    def _links(self, path: str, text: str) -> str:
        return _LINK.sub(lambda found: found[1] + self._link(path, found[2]) + found[3], text)

    def _link(self, path: str, link: str) -> str:
        to, mark, anchor = link.partition("#")
        if not to or "://" in to or to.startswith("mailto:"):
            return link
        target = os.path.normpath(PurePosixPath(path).parent / to)
        if not (self.root / target).exists() or target.startswith(".."):
            raise BrokenLinkError(f"{path}: there is no {to}")
        if (self.root / target / "README.md").exists():
            target = f"{target}/README.md"
        self._want(target)
        return os.path.relpath(place(target), PurePosixPath(place(path)).parent) + mark + anchor

    def _listing(self, path: str) -> str:
        lines = [_HIDDEN, f"# `{path}/`\n"]
        for file in sorted((self.root / path).iterdir()):
            if file.is_file():
                self._want(f"{path}/{file.name}")
                link = os.path.relpath(place(f"{path}/{file.name}"), Path(place(path)).parent)
                lines.append(f"- [{file.name}]({link})")
        return "\n".join(lines) + "\n"


_HIDDEN = "---\nsearch: {exclude: true}\n---\n"
"""Front matter of a page that the search excludes."""
_BOOSTS: Final = {
    re.compile(r"docs/reference/(glossary|messages)\.md"): 2,
    re.compile(r"docs/adr/0|CHANGELOG\.md|benchmarks/results/"): 0.2,
}
"""Factors of the search: definitions come first, decisions and results after how-to pages."""


def boosted(path: str) -> str:
    """Return the front matter that changes the rank of a page in the search, or nothing."""
    for pattern, boost in _BOOSTS.items():
        if pattern.match(path):
            return f"---\nsearch: {{boost: {boost}}}\n---\n"
    return ""


def place(path: str) -> str:
    """Return the place of a repository's file on the site."""
    if path in PLACES:
        return PLACES[path]
    if path.startswith("docs/"):
        return re.sub(r"\bREADME\.md$", "index.md", path.removeprefix("docs/"))
    if path.startswith("benchmarks/results/"):
        return path.replace("/results/", "/")
    kept = Path(path).suffix in {*COPIED, ".md"}
    return f"source/{path}" if kept else f"source/{path}.md"


def shown(path: str, text: str) -> str:
    """Return a page that shows a file."""
    fence, language = "~" * 12, LANGUAGES.get(Path(path).suffix, "text")
    return f"{_HIDDEN}\n# `{path}`\n\n{fence}{language}\n{text.rstrip()}\n{fence}\n"


def paths(nav: Any) -> Iterator[str]:
    """Yield the paths of a navigation, in its order."""
    match nav:
        case str():
            yield nav
        case list():
            for entry in nav:
                yield from paths(entry)
        case dict():
            for entry in nav.values():
                yield from paths(entry)


def placed(nav: Any, decisions: list[str]) -> Any:
    """Return the navigation with places on the site instead of paths, and with every decision."""
    match nav:
        case str() if nav == DECISIONS:
            return [place(path) for path in decisions]
        case str():
            return place(nav)
        case list():
            return [placed(entry, decisions) for entry in nav]
        case _:
            return {title: placed(entry, decisions) for title, entry in nav.items()}


def build(root: Path, target: Path) -> None:
    """Write the site's source to a folder: the pages, and the configuration that builds them.

    Raises:
        BrokenLinkError: The navigation or a page names a missing file.
    """
    with (root / CONFIGURATION).open() as file:
        nav = yaml.load(file, Loader=get_yaml_loader())["nav"]  # noqa: S506  # our own, with tags
    decisions = [f"{DECISIONS}README.md"]
    decisions += sorted(f"{DECISIONS}{each.name}" for each in (root / DECISIONS).glob("0*.md"))
    named = [path for path in paths(nav) if path != DECISIONS]
    for path in named:
        if not (root / path).is_file():
            raise BrokenLinkError(f"{CONFIGURATION}: there is no {path}")
    pages = [str(page.relative_to(root)) for page in (root / "docs").rglob("*.md")]
    assets = [str(file.relative_to(root)) for file in (root / "docs" / "site").glob("*.*")]
    Site(root, target / "pages").stage([*named, *pages, *assets])
    configuration = {
        "INHERIT": os.path.relpath(root / CONFIGURATION, target),
        "docs_dir": "pages",
        "site_dir": "../site",
        "nav": placed(nav, decisions),
    }
    (target / CONFIGURATION).write_text(yaml.safe_dump(configuration, sort_keys=False))


def main() -> int:
    """Write the site's source to the folder of the argument; return the exit code."""
    parser = argparse.ArgumentParser(description="Prepare the repository's pages for MkDocs.")
    parser.add_argument("target", type=Path, help="folder to write; its content is deleted")
    try:
        build(ROOT, parser.parse_args().target)
    except (BrokenLinkError, FileNotFoundError) as error:
        print(f"docs: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
