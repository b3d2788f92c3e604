"""Tables and lines that fit any terminal, without breaking a word.

A table that does not fit is shown as a block of lines `name: value` for each row. Lines end between
words, so that each id can be searched and copied; a word that is longer than the terminal stands
alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from operations.printable import printable

LEAST_ROOM = 30
"""Minimum columns for a text beside its label; with fewer it is below."""
INDENT = 2
"""Columns before the further lines of a block's value."""
GAP = 2
"""Columns between names and values."""
_WORD = re.compile(r"\S+")


def plain(value: object) -> Text:
    """Return a value as text without markup and control characters; a `Text` is unchanged."""
    return value if isinstance(value, Text) else Text(printable(value))


@dataclass(slots=True)
class Rows:
    """A table if it fits, else a block of lines for each row."""

    columns: Sequence[str]
    gap: int = 2
    right: frozenset[str] = frozenset()
    """Columns that are aligned to the right."""
    _rows: list[list[Text]] = field(default_factory=list)
    _notes: list[Text] = field(default_factory=list)

    def add(self, *cells: str | Text, note: str = "") -> None:
        """Add a row; a note is a line below it."""
        self._rows.append([plain(cell) for cell in cells])
        self._notes.append(Text(printable(note), style="dim"))

    def fits(self, width: int, *, wrapped: bool = True) -> bool:
        """Return True if the table fits, with cells wrapped between words or on one line each."""
        widths = self._widths(_longest_word if wrapped else _longest_line)
        return sum(widths) + self._gaps() <= width

    def or_compact(self, compact: Rows, width: int) -> Rows:
        """Return the compact form of the table if it fits and this one needs several lines."""
        needed = compact.fits(width) and not self.fits(width, wrapped=False)
        return compact if needed else self

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self.fits(options.max_width):
            yield from self._blocks(options.max_width)
            return
        least, most = self._widths(_longest_word), self._widths(_longest_line)
        widths = _distributed(least, most, options.max_width - self._gaps())
        heads = [Text(name, style="bold") for name in self.columns]
        for cells, note in zip([heads, *self._rows], [Text(), *self._notes], strict=True):
            yield from self._lines(cells, widths)
            yield from _indented(note, options.max_width) if note else ()

    def _widths(self, measure: Callable[[Text], int]) -> list[int]:
        columns = [[row[place] for row in self._rows] for place in range(len(self.columns))]
        return [
            max(cell_len(name), *map(measure, cells), 0)
            for name, cells in zip(self.columns, columns, strict=True)
        ]

    def _gaps(self) -> int:
        return self.gap * (len(self.columns) - 1)

    def _lines(self, cells: Sequence[Text], widths: Sequence[int]) -> Iterator[Text]:
        columns = [wrapped(cell, width) for cell, width in zip(cells, widths, strict=True)]
        for parts in zip_longest(*columns, fillvalue=Text()):
            line = Text()
            for name, part, width in zip(self.columns, parts, widths, strict=True):
                space = " " * (width - part.cell_len)
                between = " " * self.gap if line else ""
                line.append(between + space if name in self.right else between)
                line.append_text(part)
                line.append("" if name in self.right else space)
            line.rstrip()
            yield line

    def _blocks(self, width: int) -> Iterator[Text]:
        for number, (cells, note) in enumerate(zip(self._rows, self._notes, strict=True)):
            if number:
                yield Text()
            yield from _named(dict(zip(self.columns, cells, strict=True)), width)
            yield from wrapped(note, width) if note else ()


@dataclass(frozen=True, slots=True)
class Pairs:
    """Names and values: two columns if they fit, else lines `name: value`."""

    rows: Mapping[str, Text]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        names = max(map(cell_len, self.rows), default=0) + GAP
        room = options.max_width - names
        if any(_longest_word(value) > room for value in self.rows.values()):
            yield from _named(self.rows, options.max_width)
            return
        for name, value in self.rows.items():
            for number, line in enumerate(wrapped(value, room) or [Text()]):
                head = f"{'' if number else name:<{names}}"
                yield Text.assemble((head, "bold"), line)


@dataclass(frozen=True, slots=True)
class Labelled:
    """A label and a text beside it; on a narrow terminal the text is below."""

    label: Text
    text: Text

    @property
    def plain(self) -> str:
        """Both on one line."""
        return self.label.plain + self.text.plain

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines: one where lines have any length, or if both fit."""
        both = Text.assemble(self.label, self.text)
        both.rstrip()
        width, start = options.max_width, self.label.cell_len
        if options.no_wrap or both.cell_len <= width:
            yield both
        elif width - start >= max(LEAST_ROOM, _longest_word(self.text)):
            first, *more = wrapped(self.text, width - start)
            yield Text.assemble(self.label, first)
            for line in more:
                yield Text.assemble(" " * start, line)
        else:
            yield from self._below(width)

    def _below(self, width: int) -> Iterator[Text]:
        """Yield the label without the spaces of its column, and the text where there is room."""
        label = self.label.copy()
        label.rstrip()
        short = Text.assemble(label, " " * GAP, self.text)
        if short.cell_len <= width:
            yield short
            return
        yield from wrapped(label, width)
        yield from _indented(self.text, width)


def _named(values: Mapping[str, Text], width: int) -> Iterator[Text]:
    """Yield lines `name: value`, without the empty values."""
    for name, value in values.items():
        if not value:
            continue
        whole = Text.assemble((f"{name}: ", "bold"), Text(" ").join(value.split("\n")))
        first, *more = wrapped(whole, width - INDENT)
        yield first
        for line in more:
            yield Text.assemble(" " * INDENT, line)


def _indented(text: Text, width: int) -> Iterator[Text]:
    for line in wrapped(text, width - INDENT):
        yield Text.assemble(" " * INDENT, line)


def wrapped(text: Text, width: int) -> list[Text]:
    """Return the lines of a text, broken between words only (rich would break or cut a long word).

    A word that is longer than `width` is a line of its own.
    """
    return [line for paragraph in text.split("\n") for line in _broken(paragraph, width)]


def _broken(paragraph: Text, width: int) -> Iterator[Text]:
    plain, begin = paragraph.plain, 0
    breaks: list[int] = []
    for word in _WORD.finditer(plain):
        end = cell_len(plain[begin : word.end()])
        if end > width and plain[begin : word.start()].strip():
            breaks.append(begin := word.start())
    for line in paragraph.divide(breaks):
        line.rstrip()
        yield line


def _distributed(least: Sequence[int], most: Sequence[int], room: int) -> list[int]:
    """Return widths between the least and the most; what is almost wide enough gets room first."""
    left, widths = room - sum(least), list(least)
    for place in sorted(range(len(least)), key=lambda place: most[place] - least[place]):
        more = min(left, most[place] - least[place])
        left -= more
        widths[place] += more
    return widths


def _longest_word(text: Text) -> int:
    return max(map(cell_len, text.plain.split()), default=0)


def _longest_line(text: Text) -> int:
    return max(map(cell_len, text.plain.split("\n")), default=0)
