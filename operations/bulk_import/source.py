"""The imported file: its lines, its digest, and a check that it has not changed."""

from __future__ import annotations

import codecs
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from worker.errors import UsageError

MAX_LINE = 1_048_576
"""Maximum bytes of one line, more than any command has; it limits the memory used."""
_BLOCK = 1 << 20
_READ = 1 << 15
_LOOK_EVERY = 256  # lines
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
UTF_8 = "utf-8"
_WITH_UTF_8_MARK = frozenset({UTF_8, "utf-8-sig"})
_NOT_OF_FILES = frozenset({"idna", "punycode", "unicode-escape", "raw-unicode-escape"})
"""Text codecs of Python that are not encodings of files."""
_INVALID = b"\xff"
"""A byte that UTF-8 does not have; it marks the place of an undecodable byte."""


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
                self._file = Path(name).open("rb")  # noqa: SIM115 - closed by `close`
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
        digest = hashlib.sha256()
        while block := self._file.read(_BLOCK):
            digest.update(block)
        return digest.hexdigest()

    def lines(self) -> Iterator[str]:
        """Yield the lines from the first one, each with its line end: LF, CR LF or CR alone.

        A byte order mark is removed.

        Raises:
            UsageError: a line cannot be decoded, or is longer than `MAX_LINE`, or the file has
                changed.
        """
        for number, raw in enumerate(self._raw_lines(), 1):
            if number % _LOOK_EVERY == 0:
                self.require_unchanged()
            yield self._decoded(raw, number)
        self.require_unchanged()

    def _raw_lines(self) -> Iterator[bytes]:
        """Yield the lines in UTF-8; a part that cannot be decoded is `_INVALID`."""
        self._file.seek(0)
        if self.encoding not in _WITH_UTF_8_MARK:
            if self._file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
                raise UsageError(f"{self.name} is UTF-8", "leave out --encoding")
            self._file.seek(0)
        read = self._file.read if self.encoding == UTF_8 else _Recoder(self._file, self.encoding)
        pending = read(_READ)
        if self.encoding == UTF_8 and pending.startswith(_UTF_16):
            raise UsageError(f"{self.name} is UTF-16", "use --encoding utf-16")
        while pending.startswith(codecs.BOM_UTF8):
            pending = pending.removeprefix(codecs.BOM_UTF8)
        number, at_end = 0, False
        while not at_end:
            block = read(_READ)
            at_end = not block
            lines = (pending + block).splitlines(keepends=True)
            # The last line may continue in the next block, and an LF may follow a CR there.
            pending = lines.pop() if lines and not at_end else b""
            for number, line in enumerate(lines, number + 1):  # noqa: B020 - continues counting
                self._require_short(line, number)
                yield line
            self._require_short(pending, number + 1)

    def _require_short(self, line: bytes, number: int) -> None:
        if len(line) > MAX_LINE:
            raise UsageError(
                f"{self.name}, line {number} is longer than {MAX_LINE} bytes",
                "check that it is CSV or JSON lines",
            )

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

    def _decoded(self, raw: bytes, number: int) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            column = len(raw[: error.start].decode()) + 1
        raise UsageError(
            f"{self.name}, line {number}, column {column} is not {self.encoding.upper()}",
            "name the encoding of the file with --encoding, for example cp1252 or utf-16-le",
        )


class _Recoder:
    """Reads a file of any encoding as UTF-8, up to the first byte that cannot be decoded."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._ended = False

    def __call__(self, size: int) -> bytes:
        """Read about `size` bytes; return no bytes at the end only."""
        while not self._ended:
            block = self._file.read(size)
            before = self._decoder.getstate()
            try:
                text = self._decoder.decode(block, final=not block)
            except UnicodeError as error:
                self._ended = True
                return self._before(block, before, error) + _INVALID
            self._ended = not block
            if text:
                return text.encode("utf-8", "surrogatepass")
        return b""

    def _before(self, block: bytes, state: tuple[bytes, int], error: UnicodeError) -> bytes:
        """Return the text before an error; `state` is the decoder's before the block."""
        if not isinstance(error, UnicodeDecodeError):
            return b""
        start = error.start - (len(error.object) - len(block))  # the rest is of earlier blocks
        if start <= 0:
            return b""
        self._decoder.setstate(state)
        try:
            return self._decoder.decode(block[:start]).encode("utf-8", "surrogatepass")
        except UnicodeError:  # the whole block is invalid: it has no byte order mark
            return b""


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
