from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.cli.bulk.records import (
    CsvRow,
    FileFormat,
    Problem,
    format_of,
    parse_delimiter,
    read_csv,
    read_json_lines,
    sniffed_delimiter,
)
from worker.cli.bulk.source import MAX_LINE, SourceFile
from worker.errors import UsageError

_opened: list[SourceFile] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def source(folder: Path, content: bytes | str, name: str = "users.csv") -> SourceFile:
    """Write a file and open it."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    _opened.append(SourceFile(str(path)))
    return _opened[-1]


def rows(folder: Path, content: bytes | str, delimiter: str = ",") -> list[CsvRow]:
    """Read all of a CSV file."""
    return list(read_csv(source(folder, content), delimiter))


# --- what is no such file ---


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("missing.csv", r"cannot read .*missing\.csv; No such file"),
        (".", "is not a file"),
        ("-", "standard input cannot be read twice"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, name: str, rule: str) -> None:
    """With one line that says why."""
    with pytest.raises(UsageError, match=rule):
        SourceFile(name if name == "-" else str(tmp_path / name))


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    """It cannot be read twice, and opening it would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is not a file"):
        SourceFile(str(tmp_path / "pipe"))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    """Nobody means to import nothing."""
    with pytest.raises(UsageError, match="is empty"):
        source(tmp_path, "")


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"email\nad\xe4@example.com\n", "line 2, byte 3 is not UTF-8"),
        (b"email,na\xffme\n", "line 1, byte 9 is not UTF-8"),
        ("email\nada\n".encode("utf-16"), "is UTF-16"),
    ],
)
def test_another_encoding_is_named_with_line_and_byte(
    tmp_path: Path, content: bytes, place: str
) -> None:
    """And with what to do, since spreadsheets write many."""
    with pytest.raises(UsageError, match=place) as caught:
        rows(tmp_path, content)
    assert "save it as UTF-8" in str(caught.value)


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    """A file may be anything, of any size."""
    with pytest.raises(UsageError, match="line 2 is longer"):
        rows(tmp_path, b"email\n" + b"x" * (MAX_LINE + 1))


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    """What was checked has to be what is sent."""
    opened = source(tmp_path, "email\nada\n")
    lines = opened.lines()
    next(lines)
    with (tmp_path / "users.csv").open("a") as more:
        more.write("grace\n")
    with pytest.raises(UsageError, match="changed while it was read"):
        list(lines)


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    """Two readings of one content agree; another content differs."""
    first, again = source(tmp_path, "email\n", "a.csv"), source(tmp_path, "email\n", "b.csv")
    other = source(tmp_path, "e-mail\n", "c.csv")
    assert first.digest() == first.digest() == again.digest() != other.digest()


# --- CSV ---


def test_rows_come_with_the_line_they_begin_at(tmp_path: Path) -> None:
    """Quoted line ends count, blank lines and rows of empty cells are left out."""
    content = '\ufeffname,note\r\nAda,"one\r\ntwo"\r\n\r\n,,\r\nGrace,"a ""b"", c"\r\n'
    assert rows(tmp_path, content) == [
        CsvRow(1, ["name", "note"]),
        CsvRow(2, ["Ada", "one\r\ntwo"]),
        CsvRow(6, ["Grace", 'a "b", c']),
    ]


@pytest.mark.parametrize(
    "content",
    ['a,b\n"never closed,c\nd,e\n', 'a,b\n"x"y,c\n', "a,b\n" + '"' + "x" * 200_000 + '"\n'],
    ids=["quote open", "text after quote", "huge cell"],
)
def test_what_is_not_csv_is_named_by_its_line(tmp_path: Path, content: str) -> None:
    """From there on every row would be a guess."""
    with pytest.raises(UsageError, match="line 2 is not CSV"):
        rows(tmp_path, content)


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [
        ("a,b,c", ","),
        ("a;b;c", ";"),
        ("a\tb\tc", "\t"),
        ('"x,y,z";b', ";"),
        ("one", ","),
        ("\na;b", ";"),
    ],
)
def test_the_delimiter_is_found_in_the_header(tmp_path: Path, header: str, delimiter: str) -> None:
    """Outside quotes; a single column has none."""
    assert sniffed_delimiter(source(tmp_path, header + "\n")) == delimiter


def test_a_delimiter_can_be_typed() -> None:
    """A tab too."""
    assert [parse_delimiter(text) for text in (";", "|", "tab", "\\t")] == [";", "|", "\t", "\t"]
    for text in ("", ",,", "a", '"', "\n"):
        with pytest.raises(UsageError, match="--delimiter"):
            parse_delimiter(text)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.csv", "{", FileFormat.CSV),
        ("x.TSV", "a", FileFormat.CSV),
        ("x.jsonl", "a", FileFormat.JSONL),
        ("x.ndjson", "a", FileFormat.JSONL),
        ("users", ' {"a": 1}', FileFormat.JSONL),
        ("users", "a,b", FileFormat.CSV),
    ],
)
def test_the_format_is_told_by_name_or_first_character(
    tmp_path: Path, name: str, content: str, expected: FileFormat
) -> None:
    """The name wins."""
    assert format_of(source(tmp_path, content, name)) is expected


# --- JSON lines ---


def test_json_lines_are_objects_or_problems(tmp_path: Path) -> None:
    """A bad line is one bad row; the others are read all the same."""
    content = '{"a": 1}\n\n{"a": 1, "a": 2}\n[1]\n{"a"\n"x"\n' + '{"a":' * 40 + "1" + "}" * 40
    found = list(read_json_lines(source(tmp_path, content + '\n{"b": 2}')))
    assert [row.line for row in found] == [1, 3, 4, 5, 6, 7, 8]
    assert found[0].value == {"a": 1}
    assert found[-1].value == {"b": 2}
    rules = [row.value.rule for row in found[1:-1] if isinstance(row.value, Problem)]
    assert rules == [
        "an object names a field twice",
        "must be a JSON object",
        "the line is not JSON",
        "must be a JSON object",
        "the line is nested more than 32 levels deep",
    ]


def test_a_json_array_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """It would have to be read whole."""
    with pytest.raises(UsageError, match=r"is a JSON array; .*jq -c"):
        list(read_json_lines(source(tmp_path, '[{"a": 1}]')))
