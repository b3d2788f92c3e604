from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from operations.bulk_import.records import (
    CsvRow,
    FileFormat,
    Problem,
    format_of,
    parse_delimiter,
    read_csv,
    read_json_lines,
    sniffed_delimiter,
)
from operations.bulk_import.source import MAX_LINE, SourceFile
from worker.errors import UsageError

BLOCK = 8_192
"""Bytes that Python decodes at once."""

_opened: list[SourceFile] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def source(
    folder: Path, content: bytes | str, name: str = "users.csv", encoding: str = "utf-8"
) -> SourceFile:
    """Write a file and open it."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    _opened.append(SourceFile(str(path), encoding))
    return _opened[-1]


def header_of(encoding: str, before: int, end: str = "\r\n") -> str:
    """Return a first line that ends this number of code units before the end of a block."""
    unit = len("x".encode(encoding)) - len("".encode(encoding))
    used = len("".encode(encoding)) + unit * (before + len(end))
    return "x" * ((BLOCK - used) // unit) + end


def rows(
    folder: Path, content: bytes | str, delimiter: str = ",", encoding: str = "utf-8"
) -> list[CsvRow]:
    """Read all rows of a CSV file."""
    return list(read_csv(source(folder, content, encoding=encoding), delimiter))


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
    """The error is one line that says why."""
    with pytest.raises(UsageError, match=rule):
        SourceFile(name if name == "-" else str(tmp_path / name))


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    """It cannot be read twice, and opening it would block forever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is not a file"):
        SourceFile(str(tmp_path / "pipe"))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    """An empty import is always a mistake."""
    with pytest.raises(UsageError, match="is empty"):
        source(tmp_path, "")


@pytest.mark.parametrize(
    ("content", "encoding", "place"),
    [
        (b"email\nad\xe4@example.com\n", "utf-8", "line 2, column 3 is not UTF-8"),
        (b"email,na\xffme\n", "utf-8", "line 1, column 9 is not UTF-8"),
        ("é\né".encode() + b"\xe4,\n", "utf8", "line 2, column 2 is not UTF-8"),
        ("email\nada\n".encode("utf-16"), "utf-8", "is UTF-16; use --encoding utf-16"),
        (b"email\nJos\xe9\x81\n", "cp1252", "line 2, column 5 is not CP1252"),
        (b"email\nJos\xe9", "ascii", "line 2, column 4 is not ASCII"),
        ("email\nada".encode("utf-16") + b"x", "utf-16", "line 2, column 4 is not UTF-16"),
        ("email\na".encode("utf-16-le") + b"\x00\xd8b\x00", "utf-16-le", "line 2, column 2 is not"),
        (b"email\nada", "utf-16", "line 1, column 1 is not UTF-16"),  # no byte order mark
        (b"email\n\x82\xa0\x82", "shift_jis", "line 2, column 2 is not SHIFT_JIS"),
        (b"\xef\xbb\xbfemail\n", "cp1252", "users.csv is UTF-8; leave out --encoding"),
    ],
)
def test_what_cannot_be_decoded_is_named_with_line_and_column(
    tmp_path: Path, content: bytes, encoding: str, place: str
) -> None:
    """The error is one line that names the option."""
    with pytest.raises(UsageError, match=place) as caught:
        rows(tmp_path, content, encoding=encoding)
    assert "--encoding" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("before", range(24))
@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "shift_jis", "gb18030"],
)
def test_a_place_is_the_same_wherever_blocks_end(
    tmp_path: Path, encoding: str, before: int
) -> None:
    """Also where a character is split between two blocks. The lines before it are read."""
    header = header_of(encoding, before)
    text = f"{header}漢字,日本\r\n日"
    unit = {"utf-16": b"\x00\xd8", "utf-16-le": b"\x00\xd8", "utf-16-be": b"\xd8\x00"}
    bad = unit.get(encoding, b"\x00\x00\xff\xff" if encoding == "utf-32" else b"\xff")
    content = text.encode(encoding) + bad + "x\n".encode(encoding)
    lines = source(tmp_path, content, encoding=encoding).lines()
    assert [next(lines), next(lines)] == [header, "漢字,日本\r\n"]
    with pytest.raises(UsageError, match="line 3, column 2 is not"):
        next(lines)


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-8", "José Łukasz 漢字"),
        ("utf-16", "José Łukasz 漢字 \U0001f600"),
        ("utf-16-le", "José"),
        ("utf-32", "José Łukasz"),
        ("latin-1", "José"),
        ("cp1252", "José €"),
        ("cp1250", "Łukasz"),
        ("iso-8859-2", "Łukasz"),
        ("mac-roman", "José"),
        ("koi8-r", "Иван"),
        ("shift_jis", "漢字"),
        ("gb18030", "漢字\U0001f600"),
        ("cp037", "José"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_file_may_have_any_encoding(tmp_path: Path, encoding: str, name: str, end: str) -> None:
    """Rows and lines are those of the same file in UTF-8."""
    text = f'name;note{end}{name};"one{end}two"{end}{end}last;{name}{end}'
    expected = rows(tmp_path, text, ";")
    assert rows(tmp_path, text.encode(encoding), ";", encoding) == expected
    assert [row.line for row in expected] == [1, 2, 5]
    assert expected[1].cells[0] == name


def test_a_byte_order_mark_of_any_encoding_is_removed(tmp_path: Path) -> None:
    """Also where the encoding names its byte order, so that the mark is a character."""
    for encoding in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le"):
        content = "\ufeffemail\nada\n".encode(encoding)
        assert rows(tmp_path, content, encoding=encoding)[0].cells == ["email"], encoding


@pytest.mark.parametrize(
    "name",
    [
        "latin-99",
        "",
        "base64",
        "rot13",
        "hex",
        "zlib",
        "undefined",
        "punycode",
        "unicode_escape",
        "idna",
        "a\0b",
        "ü",
    ],
)
def test_an_unknown_encoding_is_refused(tmp_path: Path, name: str) -> None:
    """So is a codec that does not decode text."""
    with pytest.raises(UsageError, match="--encoding must be an encoding of text; for example"):
        source(tmp_path, "email\n", encoding=name)


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    """A file may have any content and any size."""
    with pytest.raises(UsageError, match="line 2 is longer"):
        rows(tmp_path, b"email\n" + b"x" * (MAX_LINE + 1))


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    """The checked content must be the sent content."""
    opened = source(tmp_path, "email\nada\n")
    lines = opened.lines()
    next(lines)
    with (tmp_path / "users.csv").open("a") as more:
        more.write("grace\n")
    with pytest.raises(UsageError, match="changed while it was read"):
        list(lines)


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    """Equal content gives equal digests; other content gives another digest."""
    first, again = source(tmp_path, "email\n", "a.csv"), source(tmp_path, "email\n", "b.csv")
    other = source(tmp_path, "e-mail\n", "c.csv")
    assert first.digest() == first.digest() == again.digest() != other.digest()


# --- CSV ---


def test_rows_come_with_the_line_they_begin_at(tmp_path: Path) -> None:
    """Quoted line ends count; blank lines and rows of empty cells are skipped."""
    content = '\ufeffname,note\r\nAda,"one\r\ntwo"\r\n\r\n,,\r\nGrace,"a ""b"", c"\r\n'
    assert rows(tmp_path, content) == [
        CsvRow(1, ["name", "note"]),
        CsvRow(2, ["Ada", "one\r\ntwo"]),
        CsvRow(6, ["Grace", 'a "b", c']),
    ]


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_lines_may_end_in_any_way(tmp_path: Path, end: str) -> None:
    """Spreadsheets on a Mac end lines with a carriage return alone."""
    content = f'\ufeffname,note{end}Ada,"one{end}two"{end}{end}Grace,three{end}Mary,four'
    assert rows(tmp_path, content) == [
        CsvRow(1, ["name", "note"]),
        CsvRow(2, ["Ada", f"one{end}two"]),
        CsvRow(5, ["Grace", "three"]),
        CsvRow(6, ["Mary", "four"]),
    ]


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("before", range(-2, 12))
def test_a_line_end_across_two_reads_is_one(tmp_path: Path, end: str, before: int) -> None:
    """This holds wherever the file is split into blocks."""
    header = header_of("utf-8-sig", before, end)
    lines = [header, *(f"line{number}{end}" for number in range(5))]
    assert list(source(tmp_path, "\ufeff" + "".join(lines) + "last").lines()) == [*lines, "last"]


@pytest.mark.parametrize(
    ("delimiter", "blank"),
    [(d, b) for d in (",", ";", "\t", "|") for b in (" ", "   ", "\u00a0", "\t") if d != b],
)
def test_blanks_around_a_quoted_cell_are_ignored(
    tmp_path: Path, delimiter: str, blank: str
) -> None:
    """In the header, at both ends of a line and around line ends; within quotes they are kept."""
    cells = [" a ", f'say "x"{blank}{delimiter} y', f"one{blank}\ntwo", "plain"]
    quoted = [f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in cells[:3]] + ["plain"]
    line = blank + f"{blank}{delimiter}{blank}".join(quoted) + "\n"
    content = line + line + f'{blank}"end"{blank}{delimiter}{blank}"of file"{blank}'

    found = [
        [cell.strip(blank) for cell in row.cells] for row in rows(tmp_path, content, delimiter)
    ]

    plain = [cell.strip(blank) for cell in cells]
    assert found == [plain, plain, ["end", "of file"]]


def test_a_quote_within_an_unquoted_cell_is_text(tmp_path: Path) -> None:
    """The next row is not affected."""
    content = 'note,name\n5" disk,"Ada"\n6, "Grace , H"\n'
    assert [row.cells for row in rows(tmp_path, content)[1:]] == [
        ['5" disk', "Ada"],
        ["6", "Grace , H"],
    ]


@pytest.mark.parametrize(
    "content",
    ['a,b\n"never closed,c\nd,e\n', 'a,b\n"x"y,c\n', "a,b\n" + '"' + "x" * 200_000 + '"\n'],
    ids=["quote open", "text after quote", "huge cell"],
)
def test_what_is_not_csv_is_named_by_its_line(tmp_path: Path, content: str) -> None:
    """All later rows would be guesses."""
    with pytest.raises(UsageError, match="line 2 is not valid CSV"):
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
    """Delimiters in quotes are ignored; a single column has none."""
    assert sniffed_delimiter(source(tmp_path, header + "\n")) == delimiter


def test_a_delimiter_can_be_typed() -> None:
    """A tab can be given too."""
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
def test_the_format_is_detected_by_name_or_first_character(
    tmp_path: Path, name: str, content: str, expected: FileFormat
) -> None:
    """The name wins."""
    assert format_of(source(tmp_path, content, name)) is expected


# --- JSON lines ---


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_json_lines_may_end_in_any_way(tmp_path: Path, end: str) -> None:
    """A byte order mark at the start is optional."""
    content = f'\ufeff{{"a": 1}}{end}{end}{{"b": 2}}'
    assert [row.value for row in read_json_lines(source(tmp_path, content))] == [{"a": 1}, {"b": 2}]


def test_json_lines_are_objects_or_problems(tmp_path: Path) -> None:
    """A bad line is one bad row; the other lines are read."""
    content = '{"a": 1}\n\n{"a": 1, "a": 2}\n[1]\n{"a"\n"x"\n' + '{"a":' * 40 + "1" + "}" * 40
    found = list(read_json_lines(source(tmp_path, content + '\n{"b": 2}')))
    assert [row.line for row in found] == [1, 3, 4, 5, 6, 7, 8]
    assert found[0].value == {"a": 1}
    assert found[-1].value == {"b": 2}
    rules = [row.value.rule for row in found[1:-1] if isinstance(row.value, Problem)]
    assert rules == [
        "an object contains a field twice",
        "must be a JSON object",
        "the line is not JSON",
        "must be a JSON object",
        "the line is nested more than 32 levels deep",
    ]


def test_a_json_array_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """It would have to be read as a whole."""
    with pytest.raises(UsageError, match=r"is a JSON array; .*jq -c"):
        list(read_json_lines(source(tmp_path, '[{"a": 1}]')))
