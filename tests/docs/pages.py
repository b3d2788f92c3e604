"""The pages, and the blocks of code on them, each with the way in which it is held to the truth.

A block's language says how it is checked. A comment on the line before it says more:

    <!-- examples/send_boto3.py -->     the block is this file, as it stands
    <!-- part of examples/login.py -->  lines of this file, one after the other
    <!-- in FILE above "LINE" -->       lines to be added to a file, above or below its first line
                                        that starts so; names of Python are known there
    <!-- not run: why -->               Python that is compiled only; its imports have to be right
    <!-- output of make run -->         what a command prints, which has to be one that there is
    <!-- drawing -->                    lines and boxes, checked by nobody
    <!-- layout -->                     the tree of files, all of which exist
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_FENCE = re.compile(
    r"(?:^[ \t]*<!-- (?P<mark>[^\n]+?) -->\n)?"
    r"^(?P<indent>[ \t]*)```(?P<language>[\w-]*)[^\n]*\n(?P<text>.*?)^(?P=indent)```[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
_ADDITION = re.compile(r'in (\S+) (above|below) "(.+)"')
_CODE = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    page: str
    """The page's path in the repository."""
    line: int
    """Line number of its first fence, from 1."""
    language: str
    mark: str
    """Text of the comment before it, or empty."""
    text: str

    @property
    def where(self) -> str:
        """Return page and line, for error messages."""
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True)
class Addition:
    """The place to which the lines of a block are added."""

    file: str
    above: bool
    line: str
    """Start of the line above or below which they are added."""

    @classmethod
    def of(cls, block: Block) -> Addition | None:
        """Return the place that a block names; None if it names none."""
        found = _ADDITION.fullmatch(block.mark)
        return None if found is None else cls(found[1], found[2] == "above", found[3])

    def apply(self, text: str, addition: str) -> str:
        """Return the text of the file with the lines added.

        Raises:
            ValueError: The file has no such line.
        """
        lines = text.splitlines(keepends=True)
        for number, line in enumerate(lines):
            if line.startswith(self.line):
                at = number if self.above else number + 1
                return "".join([*lines[:at], addition, *lines[at:]])
        raise ValueError(f"{self.file} has no line that starts with {self.line!r}")


@dataclass(frozen=True, slots=True)
class Mention:
    """Code within a sentence."""

    where: str
    text: str


def pages() -> list[Path]:
    """Return every page that is written by hand."""
    named = ["README.md", "CONTRIBUTING.md", "benchmarks/README.md", "examples/README.md"]
    return [*(ROOT / name for name in named), *sorted((ROOT / "docs").rglob("*.md"))]


def blocks() -> list[Block]:
    """Return the blocks of all pages, in order."""
    return [block for page in pages() for block in blocks_of(name(page), page.read_text())]


def blocks_of(page: str, text: str) -> Iterator[Block]:
    """Yield the blocks of a page's text."""
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start("indent")) + 1
        body = textwrap.dedent(found["text"]) if found["indent"] else found["text"]
        yield Block(page, line, found["language"], found["mark"] or "", body)


def mentions() -> list[Mention]:
    """Return the code within the sentences of all pages."""
    return [each for page in pages() for each in mentions_of(name(page), page.read_text())]


def mentions_of(page: str, text: str) -> Iterator[Mention]:
    """Yield the code within the sentences of a page's text."""
    prose = _FENCE.sub(lambda block: "\n" * block[0].count("\n"), text)
    for found in _CODE.finditer(prose):
        line = prose.count("\n", 0, found.start()) + 1
        yield Mention(f"{page}:{line}", " ".join(found[1].split()))


def name(page: Path) -> str:
    """Return a page's path in the repository."""
    return str(page.relative_to(ROOT))
