"""Lays the pages of this repository out for MkDocs: `make docs` builds a site of them.

The pages stay as they are read in the repository, README and all. A copy of each goes to where it
belongs on the site, with its links led there; a file or folder that a page links to gets a page
that shows it. A link that leads nowhere, or a page that is not in the navigation, is an error
here or a warning of MkDocs, which `--strict` makes an error.
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
"""What a browser shows by itself."""
LANGUAGES: Final = {".mjs": "js", ".py": "python", ".sh": "sh", ".json": "json", ".yml": "yaml"}
PLACES: Final = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "examples/README.md": "examples.md",
    "contracts/README.md": "contracts.md",
}
"""Where on the site a page lies whose place does not follow from its path."""
_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,}).*?^\1\2`*~*[ \t]*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?\[[^\]]*(?:\[[^\]]*\][^\]]*)?\]\()([^)\s]+)(\))")


class BrokenLinkError(Exception):
    """A page links to what is not there; the text names page and link."""


@dataclass(slots=True)
class Site:
    """The pages' copies, as they are made.

    Attributes:
        root: the repository.
        target: the folder that gets the copies; whatever was in it is removed.
    """

    root: Path
    target: Path
    _staged: set[str] = field(default_factory=set)
    _waiting: list[str] = field(default_factory=list)

    def stage(self, pages: list[str]) -> None:
        """Copy the pages, named by their paths in the repository, and all that they link to.

        Raises:
            BrokenLinkError: a link leads to no file.
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
            copy.write_text(self._led(path, source.read_text()))
        else:
            copy.write_text(shown(path, source.read_text()))

    def _led(self, path: str, text: str) -> str:
        """Give a page's text with its links led to where their targets lie on the site."""
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
"""Of a page that the search leaves out."""


def place(path: str) -> str:
    """Tell where on the site a file of the repository lies."""
    if path in PLACES:
        return PLACES[path]
    if path.startswith("docs/"):
        return re.sub(r"\bREADME\.md$", "index.md", path.removeprefix("docs/"))
    if path.startswith("benchmarks/results/"):
        return path.replace("/results/", "/")
    kept = Path(path).suffix in {*COPIED, ".md"}
    return f"source/{path}" if kept else f"source/{path}.md"


def shown(path: str, text: str) -> str:
    """Give a page that shows a file."""
    fence, language = "~" * 12, LANGUAGES.get(Path(path).suffix, "text")
    return f"{_HIDDEN}\n# `{path}`\n\n{fence}{language}\n{text.rstrip()}\n{fence}\n"


def paths(nav: Any) -> Iterator[str]:
    """Give the paths that a navigation names, in its order."""
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
    """Give the navigation with places on the site for paths, and with every decision."""
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
    """Lay the site out under a folder: the pages, and the configuration that builds them.

    Raises:
        BrokenLinkError: the navigation or a page names a file that is not there.
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
    """Lay the site out where the argument says, and give the exit code."""
    parser = argparse.ArgumentParser(description="Lay the repository's pages out for MkDocs.")
    parser.add_argument("target", type=Path, help="a folder, which is emptied")
    try:
        build(ROOT, parser.parse_args().target)
    except (BrokenLinkError, FileNotFoundError) as error:
        print(f"docs: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
