"""The imported file: its lines, its digest, and a check that it has not changed."""

from __future__ import annotations

import codecs
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from worker.errors import UsageError

MAX_LINE = 1_048_576
"""Maximum bytes of one line, more than any command has; it limits the memory used."""
_BLOCK = 1 << 20
_READ = 1 << 15
_LOOK_EVERY = 256  # lines
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_AS_UTF_8 = "save it as UTF-8 (spreadsheets call it CSV UTF-8)"


class SourceFile:
    """File that is read several times, from its beginning, in bounded memory."""

    def __init__(self, name: str) -> None:
        """Open the file.

        Raises:
            UsageError: the file does not exist, is not a regular file, or is empty.
        """
        self.name = name
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
            UsageError: a line is not UTF-8, or longer than `MAX_LINE`, or the file has changed.
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
            place = f"{self.name}, line {number}, byte {error.start + 1}"
        raise UsageError(f"{place} is not UTF-8", _AS_UTF_8)
