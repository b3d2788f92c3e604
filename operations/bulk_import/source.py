"""The imported file: its lines, its digest, and a check that it has not changed."""

from __future__ import annotations

import codecs
import hashlib
import os
import stat
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TextIO

from worker.errors import UsageError

MAX_LINE = 1_048_576
"""Maximum bytes of one line in UTF-8, more than any command has; it limits the memory used."""
_LOOK_EVERY = 256  # lines
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
UTF_8 = "utf-8"
_WITH_UTF_8_MARK = frozenset({UTF_8, "utf-8-sig"})
_NOT_OF_FILES = frozenset({"idna", "punycode", "unicode-escape", "raw-unicode-escape"})
"""Text codecs of Python that are not encodings of files."""
_MARK_INVALID = "user-worker-mark"
"""Name of an error handler of codecs: it marks an undecodable byte by a lone surrogate."""
codecs.register_error(_MARK_INVALID, lambda error: ("\udcff", error.end))  # type: ignore[attr-defined]


class SourceFile:
    """File that is read several times, from its beginning, in bounded memory."""

    def __init__(self, name: str, encoding: str = UTF_8) -> None:
        """Open the file.

        Args:
            name: path of the file.
            encoding: any text encoding that Python knows, such as cp1252 or utf-16.

        Raises:
            UsageError: the file does not exist, is not a regular file, or is empty, or the
                encoding is unknown.
        """
        self.name = name
        self.encoding = _encoding(encoding)
        if name == "-":
            raise UsageError("standard input cannot be read twice", "save it to a file")
        try:
            status = Path(name).stat()
            if stat.S_ISREG(status.st_mode):
                self._file = Path(name).open("rb", buffering=0)  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise UsageError(f"cannot read {name}", error.strerror or "") from error
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{name} is not a file", "use a file of CSV or JSON lines")
        if not status.st_size:
            self.close()
            raise UsageError(f"{name} is empty", "use a file of CSV or JSON lines")
        self.size = status.st_size
        self._stamp = self._look()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def position(self) -> int:
        """Number of bytes read, approximately."""
        return self._file.tell()

    def digest(self) -> str:
        """Return the SHA-256 of the whole content, in hexadecimal."""
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256").hexdigest()

    def lines(self) -> Iterator[str]:
        """Yield the lines from the first one, each with its line end: LF, CR LF or CR alone.

        A byte order mark is removed.

        Raises:
            UsageError: a line cannot be decoded, or is longer than `MAX_LINE`, or the file has
                changed.
        """
        self._require_encoding()
        self._file.seek(0)  # of the copy, too
        copy = os.dup(self._file.fileno())
        with os.fdopen(copy, encoding=self.encoding, errors=_MARK_INVALID, newline="") as text:
            for number in count(1):
                line = self._line(text, number)
                if number == 1:
                    line = line.lstrip("\ufeff")
                if not line or number % _LOOK_EVERY == 0:
                    self.require_unchanged()
                if not line:
                    return
                yield line

    def _require_encoding(self) -> None:
        """Raise UsageError if the first bytes show that the file has another encoding."""
        self._file.seek(0)
        start = self._file.read(len(codecs.BOM_UTF8))
        if self.encoding not in _WITH_UTF_8_MARK and start == codecs.BOM_UTF8:
            raise UsageError(f"{self.name} is UTF-8", "leave out --encoding")
        if self.encoding == UTF_8 and start.startswith(_UTF_16):
            raise UsageError(f"{self.name} is UTF-16", "use --encoding utf-16")

    def _line(self, text: TextIO, number: int) -> str:
        try:
            line = text.readline(MAX_LINE + 1)
            size = len(line.encode())  # fails at a mark
        except UnicodeError as error:  # of the whole content if a byte order mark is missing
            column = error.start + 1 if isinstance(error, UnicodeEncodeError) else 1
            raise UsageError(
                f"{self.name}, line {number}, column {column} is not {self.encoding.upper()}",
                "name the encoding of the file with --encoding, for example cp1252 or utf-16-le",
            ) from None
        if size > MAX_LINE:
            raise UsageError(
                f"{self.name}, line {number} is longer than {MAX_LINE} bytes",
                "check that it is CSV or JSON lines",
            )
        return line

    def require_unchanged(self) -> None:
        """Raise an error if the file was written to since it was opened.

        Raises:
            UsageError: the file has changed, so the check no longer applies to it.
        """
        if self._look() != self._stamp:
            raise UsageError(
                f"{self.name} changed while it was read",
                "import a file that no program is changing",
            )

    def _look(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns


def _encoding(name: str) -> str:
    """Return the normal name of an encoding.

    Raises:
        UsageError: Python does not know it, or it is not an encoding of text.
    """
    try:
        known = codecs.lookup(name).name
        "".encode(known)  # fails for codecs of bytes, such as base64
    except (LookupError, ValueError):
        known = ""
    if not known or known in _NOT_OF_FILES:
        raise UsageError(
            "--encoding must be an encoding of text", "for example utf-8, utf-16, cp1252 or latin-1"
        )
    return known
