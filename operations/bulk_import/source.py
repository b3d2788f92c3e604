"""The file that is imported: its lines, its digest, and whether it is still as it was."""

from __future__ import annotations

import codecs
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from worker.errors import UsageError

MAX_LINE = 1_048_576
"""Bytes of one line: no command is longer, and no file shall fill the memory."""
_BLOCK = 1 << 20
_READ = 1 << 15
_LOOK_EVERY = 256  # lines
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_AS_UTF_8 = "save it as UTF-8 (spreadsheets call it CSV UTF-8)"


class SourceFile:
    """A file that is read more than once, from its beginning, in a bounded amount of memory."""

    def __init__(self, name: str) -> None:
        """Open it.

        Raises:
            UsageError: it is not there, is no regular file, or is empty.
        """
        self.name = name
        if name == "-":
            raise UsageError("standard input cannot be read twice", "save it as a file")
        try:
            status = Path(name).stat()
            if stat.S_ISREG(status.st_mode):
                self._file = Path(name).open("rb")  # noqa: SIM115 - `close` does
        except OSError as error:
            raise UsageError(f"cannot read {name}", error.strerror or "") from error
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{name} is not a file", "give a file of CSV or JSON lines")
        if not status.st_size:
            self.close()
            raise UsageError(f"{name} is empty", "give a file of CSV or JSON lines")
        self.size = status.st_size
        self._stamp = self._look()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    @property
    def position(self) -> int:
        """How many bytes have been read, about."""
        return self._file.tell()

    def digest(self) -> str:
        """Give the SHA-256 of the whole content, in hexadecimal."""
        self._file.seek(0)
        digest = hashlib.sha256()
        while block := self._file.read(_BLOCK):
            digest.update(block)
        return digest.hexdigest()

    def lines(self) -> Iterator[str]:
        """Yield the lines, from the first, each with its end: LF, CR LF or CR alone.

        A byte order mark is left out.

        Raises:
            UsageError: one is not UTF-8, or longer than `MAX_LINE`, or the file changes under way.
        """
        for number, raw in enumerate(self._raw_lines(), 1):
            if number % _LOOK_EVERY == 0:
                self.require_unchanged()
            yield self._decoded(raw, number)
        self.require_unchanged()

    def _raw_lines(self) -> Iterator[bytes]:
        self._file.seek(0)
        pending = self._file.read(_READ)
        if pending.startswith(_UTF_16):
            raise UsageError(f"{self.name} is UTF-16", _AS_UTF_8)
        while pending.startswith(codecs.BOM_UTF8):
            pending = pending.removeprefix(codecs.BOM_UTF8)
        number, at_end = 0, False
        while not at_end:
            block = self._file.read(_READ)
            at_end = not block
            lines = (pending + block).splitlines(keepends=True)
            # The last one may continue in the next block; after a CR an LF may come there.
            pending = lines.pop() if lines and not at_end else b""
            for number, line in enumerate(lines, number + 1):  # noqa: B020 - goes on counting
                self._require_short(line, number)
                yield line
            self._require_short(pending, number + 1)

    def _require_short(self, line: bytes, number: int) -> None:
        if len(line) > MAX_LINE:
            raise UsageError(
                f"{self.name}, line {number} is longer than {MAX_LINE} bytes",
                "is it CSV or JSON lines at all?",
            )

    def require_unchanged(self) -> None:
        """See that nobody has written to the file since it was opened.

        Raises:
            UsageError: somebody has; what was checked is not what would be sent.
        """
        if self._look() != self._stamp:
            raise UsageError(f"{self.name} changed while it was read", "import a file at rest")

    def _look(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns

    def _decoded(self, raw: bytes, number: int) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            place = f"{self.name}, line {number}, byte {error.start + 1}"
        raise UsageError(f"{place} is not UTF-8", _AS_UTF_8)
