"""A file of rows that an import writes: CSV or, if its name does not end in .csv, JSON lines."""

from __future__ import annotations

import csv
import json
import os
import stat
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from worker.errors import CliError, UsageError

OWNER_ONLY = 0o600


class RowFile:
    """Writes rows."""

    def __init__(self, path: Path, stream: TextIO, columns: Sequence[str], option: str) -> None:
        """Write to `stream`; `option` is named in errors."""
        self._path = path
        self._stream = stream
        self._columns = columns
        self._option = option
        self._csv = csv.writer(stream) if path.suffix.lower() == ".csv" else None

    def begin(self) -> None:
        """Truncate the file, which may contain the rows of an earlier run."""
        if _is_regular(self._stream.fileno()):
            self._stream.truncate(0)
        if self._csv is not None:
            self._csv.writerow(self._columns)

    def add(self, row: Mapping[str, object]) -> None:
        """Write a row.

        Raises:
            CliError: the file cannot be written, for example on a full disk.
        """
        try:
            if self._csv is not None:
                self._csv.writerow([row[name] for name in self._columns])
            else:
                self._stream.write(json.dumps(row, separators=(",", ":")) + "\n")
        except OSError as error:
            raise _unwritable(self._path, self._option, error) from error


@contextmanager
def row_file(
    name: str | None, columns: Sequence[str], option: str, others: Collection[Path]
) -> Iterator[RowFile | None]:
    """Open a file, readable by its owner only, and keep its content; yield `None` without a name.

    Raises:
        UsageError: the file is one of the `others`.
        CliError: the file cannot be written, also at the end of the block.
    """
    if name is None:
        yield None
        return
    path = Path(name)
    if any(path.exists() and other.exists() and path.samefile(other) for other in others):
        raise UsageError(f"{option} must not be another file of this import", "choose another file")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, OWNER_ONLY)
    except OSError as error:
        raise _unwritable(path, option, error) from error
    with open(descriptor, "w", encoding="utf-8", newline="") as stream:  # noqa: PTH123 - of a descriptor
        try:
            if sys.platform != "win32" and _is_regular(descriptor):
                os.fchmod(descriptor, OWNER_ONLY)
        except OSError as error:  # the file belongs to another user
            raise _unwritable(path, option, error) from error
        yield RowFile(path, stream, columns, option)
        try:
            stream.flush()
        except OSError as error:
            raise _unwritable(path, option, error) from error


def _is_regular(descriptor: int) -> bool:
    """Return False for a device such as /dev/null, whose mode must not change."""
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def _unwritable(path: Path, option: str, error: OSError) -> CliError:
    return CliError(f"cannot write {path}: {error.strerror}", f"choose another {option} file")
