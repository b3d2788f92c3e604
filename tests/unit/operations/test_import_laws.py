"""Properties that hold for any file."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from application.messages import MessageParser
from domain.commands import Command, CreateUser, EnableTwoFactor, UpdateProfile
from operations.bulk_import.checking import check_rows
from operations.bulk_import.columns import Columns
from operations.bulk_import.records import (
    FileFormat,
    Problem,
    format_of,
    read_csv,
    sniffed_delimiter,
)
from operations.bulk_import.rows import Identity, RowReader
from operations.bulk_import.source import SourceFile
from worker.errors import UsageError

PARSER = MessageParser(("customer",))
HEADER = b"email,first_name,last_name,roles\n"
ENCODINGS = (
    "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7", "latin-1", "cp1252", "cp037",
    "shift_jis", "iso2022_jp", "gb18030", "hz", "mac-roman",
)  # fmt: skip
MARK = "zq7Xk9"
"""Part of every value of a row, and of no text of our own."""

cells = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
delimiters = st.sampled_from(",;\t")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of the file, which each example writes again."""
    return tmp_path_factory.mktemp("laws") / "any"


def reader(source: SourceFile, command: type[Command] = CreateUser) -> RowReader:
    """Read a file in the format given by its first character."""
    kind = format_of(source)
    delimiter = sniffed_delimiter(source) if kind is FileFormat.CSV else ","
    return RowReader(
        source,
        kind,
        delimiter,
        Columns(command),
        identity=Identity("0" * 64, named=False),
        parser=PARSER,
    )


@settings(max_examples=150)
@given(
    start=st.sampled_from([b"", HEADER, b"{", b'{"type":', b"\xef\xbb\xbf" + HEADER]),
    rest=st.binary(min_size=1, max_size=200),
    encoding=st.sampled_from(ENCODINGS),
)
def test_any_bytes_are_rows_bad_rows_or_one_line_of_refusal(
    file: Path, start: bytes, rest: bytes, encoding: str
) -> None:
    """No content of a file has any other result, in any encoding."""
    file.write_bytes(start + rest)
    problems: list[Problem] = []
    with contextlib.suppress(UsageError), closing(SourceFile(str(file), encoding)) as source:
        checked = check_rows(reader(source), problems.append)
        assert checked.bad == len({problem.line for problem in problems}) or not problems
        assert sum(checked.good) == checked.rows - checked.bad


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.just(MARK),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just(MARK), inner, max_size=1),
    max_leaves=4,
)
names = st.sampled_from(
    [
        "type",
        "specversion",
        "data",
        "id",
        "user_id",
        "subject",
        "email",
        "roles",
        "source",
        MARK,
        "mail",
        "email_verified",
        "createdAt",
        "first_name",
    ]
)


@settings(max_examples=150)
@given(
    st.dictionaries(names, json_values | st.sampled_from(["BanUser", "1.0", "CreateUser"])),
    st.sampled_from([CreateUser, UpdateProfile, EnableTwoFactor]),
)
def test_any_object_is_a_row_or_a_bad_row_and_no_value_is_repeated(
    file: Path, item: dict[str, object], command: type[Command]
) -> None:
    """This holds whatever the values are."""
    file.write_text(json.dumps(item))
    problems: list[Problem] = []
    with closing(SourceFile(str(file))) as source:
        checked = check_rows(reader(source, command), problems.append)
    assert checked.rows == 1
    assert bool(checked.bad) == bool(problems)
    assert not [problem for problem in problems if MARK in problem.field + problem.rule]


@settings(max_examples=100)
@given(st.lists(st.lists(cells, min_size=3, max_size=3), max_size=5), delimiters)
def test_the_csv_of_a_spreadsheet_is_read_unchanged(
    file: Path, table: list[list[str]], delimiter: str
) -> None:
    """Any text in any cell, but for lone carriage returns, which CSV cannot represent."""
    table = [[cell.replace("\r", "") for cell in row] for row in table]
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=delimiter).writerows([["a", "b", "c"], *table])
    file.write_bytes(b"\xef\xbb\xbf" + written.getvalue().encode())
    with closing(SourceFile(str(file))) as source:
        assert sniffed_delimiter(source) == delimiter
        rows = [row.cells for row in read_csv(source, delimiter)]
    assert rows == [["a", "b", "c"], *(row for row in table if any(map(str.strip, row)))]


def test_rows_are_read_as_they_are_asked_for(file: Path) -> None:
    """A file of any length is never in memory as a whole."""

    def lines() -> Iterator[bytes]:
        yield HEADER
        for number in range(40_000):
            yield b"person%d@biome.test,Ada,Lovelace,customer\n" % number

    file.write_bytes(b"".join(lines()))
    with closing(SourceFile(str(file))) as source:
        rows = iter(reader(source))
        assert next(rows).outgoing is not None
        assert source.position < 100_000 < source.size
