"""Read CSV and JSON lines as records, each with the number of its first line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import Any

from application.messages.encoding import decode_json
from application.messages.errors import MalformedMessageError
from operations.bulk_import.source import SourceFile
from worker.errors import UsageError

DELIMITERS = ",;\t"
"""Delimiters to detect if none is given; the first one wins if they occur equally often."""
_CSV_SUFFIXES = frozenset({".csv", ".tsv", ".txt"})
_JSON_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json"})


class FileFormat(StrEnum):
    """Format of a file of commands."""

    CSV = "csv"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True)
class Problem:
    """Problem of one row: field and rule, never the value."""

    line: int
    field: str
    """Empty if the problem concerns the whole row."""
    rule: str


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One record of a CSV file."""

    line: int
    cells: list[str]


@dataclass(frozen=True, slots=True)
class JsonRow:
    """One line of a JSON lines file."""

    line: int
    value: dict[str, Any] | Problem
    """The object, or the problem if the line is not one."""


def format_of(source: SourceFile) -> FileFormat:
    """Return the format by the file's suffix, or else by its first character."""
    suffix = PurePath(source.name).suffix.lower()
    if suffix in _CSV_SUFFIXES:
        return FileFormat.CSV
    if suffix in _JSON_SUFFIXES:
        return FileFormat.JSONL
    first = next(iter(source.lines()), "").lstrip()
    return FileFormat.JSONL if first.startswith(("{", "[")) else FileFormat.CSV


# --- CSV ---


def read_csv(source: SourceFile, delimiter: str) -> Iterator[CsvRow]:
    """Yield the rows, the header first; rows without text are omitted.

    Blanks around a quoted cell are ignored.

    Raises:
        UsageError: the file is not valid CSV from some line on.
    """
    lines = _TrimmedLines(source.lines(), delimiter)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        lines.in_quotes = False
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            advice = "close each quote, double quotes inside a value, and check the delimiter"
            raise UsageError(f"{source.name}, line {line} is not valid CSV", advice) from error
        if any(cell.strip() for cell in cells):
            yield CsvRow(line, cells)


class _TrimmedLines:
    """Yields lines of CSV without the blanks around quoted cells, which `csv` would treat as text.

    `skipinitialspace` of `csv` removes only spaces before a quote: no tabs, and nothing after it.
    """

    def __init__(self, lines: Iterator[str], delimiter: str) -> None:
        self._lines = lines
        self._delimiter = delimiter
        self._blanks = " \t\u00a0".replace(delimiter, "")
        self.in_quotes = False
        """Whether the next line begins inside a quoted cell. False at the start of a record."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        pieces = line.split('"')
        if len(pieces) == 1:
            return line
        # A doubled quote yields an empty piece between two pieces inside the cell.
        last, outside = len(pieces) - 1, not self.in_quotes
        for place, piece in enumerate(pieces):
            if outside and place > 0:
                after = piece.lstrip(self._blanks)
                if place == last or after.startswith(self._delimiter):
                    pieces[place] = after
            if outside and place < last:
                before = pieces[place].rstrip(self._blanks)
                if (place == 0 and not before) or before.endswith(self._delimiter):
                    pieces[place] = before
            outside = not outside
        self.in_quotes = outside
        return '"'.join(pieces)


def sniffed_delimiter(source: SourceFile) -> str:
    """Return the delimiter that occurs most often, outside quotes, in the first line with text."""
    first = next((line for line in source.lines() if line.strip()), "")
    unquoted = "".join(first.split('"')[::2])
    return max(DELIMITERS, key=unquoted.count)


def parse_delimiter(text: str) -> str:
    """Parse a delimiter as typed: a character, or `tab`.

    Raises:
        UsageError: the text is neither.
    """
    delimiter = {"tab": "\t", "\\t": "\t"}.get(text.lower(), text)
    if len(delimiter) != 1 or delimiter in '"\r\n' or delimiter.isalnum():
        raise UsageError("--delimiter must be one character, or tab", "for example , or ;")
    return delimiter


# --- JSON lines ---


def read_json_lines(source: SourceFile) -> Iterator[JsonRow]:
    """Yield the objects, one per line; blank lines are skipped.

    Raises:
        UsageError: the file is a JSON array.
    """
    begun = False
    for number, line in enumerate(source.lines(), 1):
        if not line.strip():
            continue
        if not begun and line.lstrip().startswith("["):
            advice = "write one object per line, for example with `jq -c '.[]'`"
            raise UsageError(f"{source.name} is a JSON array", advice)
        begun = True
        yield JsonRow(number, _object(number, line))


def _object(number: int, line: str) -> dict[str, Any] | Problem:
    try:
        value = decode_json(line)
    except MalformedMessageError as error:
        return Problem(number, "", error.detail.replace("the body", "the line"))
    return value if isinstance(value, dict) else Problem(number, "", "must be a JSON object")
