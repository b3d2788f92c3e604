"""A file of rows that an import writes: CSV or, if its name does not end in .csv, JSON lines."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from operations.bulk_import.journal import lock
from worker.errors import CliError, UsageError

OWNER_ONLY = 0o600
PARTIAL_SUFFIX = ".partial"
"""Suffix of the file while it is being written; a complete file is renamed."""
_MAX_FIRST_LINE = 4096


class RowFile:
    """Writes rows."""

    def __init__(
        self, path: Path, partial: Path | None, stream: TextIO, columns: Sequence[str], option: str
    ) -> None:
        """Write to `stream`, the file `partial`, which `complete` renames to `path`.

        Without `partial`, `stream` is `path` itself. Errors name the option.
        """
        self._path = path
        self._partial = partial
        self._stream = stream
        self.completed = False
        """Whether `complete` has succeeded."""
        self._columns = columns
        self._option = option
        self._csv = csv.writer(stream) if _is_csv(path) else None
        if self._csv is not None:
            self._csv.writerow(columns)

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

    def complete(self) -> None:
        """Write what is buffered, and replace the file of an earlier run.

        Raises:
            CliError: the file cannot be written.
        """
        try:
            self._stream.flush()
            if self._partial is not None:
                os.fsync(self._stream.fileno())
                self._partial.replace(self._path)
            self.completed = True
        except OSError as error:
            raise _unwritable(self._path, self._option, error) from error


@contextmanager
def row_file(
    name: str | None, columns: Sequence[str], option: str, others: Collection[Path]
) -> Iterator[RowFile | None]:
    """Open a file that its owner alone may read; yield `None` without a name.

    The rows appear under the name when `complete` is called. Until then, the file of an earlier
    run stays as it is.

    Raises:
        UsageError: the file is one of the `others`, or holds something else.
        CliError: the file cannot be written.
    """
    if name is None:
        yield None
        return
    path = Path(os.path.realpath(name))
    if any(path == Path(os.path.realpath(other)) for other in others):
        raise UsageError(f"{option} must not be another file of this import", "choose another file")
    try:
        special = path.exists() and not stat.S_ISREG(path.stat().st_mode)
        _require_ours(path, columns, option)
        partial = None if special else path.with_name(path.name + PARTIAL_SUFFIX)
        # a device or a pipe keeps its mode
        opened = os.open(path, os.O_WRONLY) if partial is None else _open_partial(partial, option)
        stream = os.fdopen(opened, "w", encoding="utf-8", newline="")
    except OSError as error:
        raise _unwritable(Path(name), option, error) from error
    rows = RowFile(path, partial, stream, columns, option)
    try:
        yield rows
    finally:
        with contextlib.suppress(OSError):
            if partial is not None and not rows.completed:
                partial.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # `complete` has reported what could not be written
            stream.close()


def _open_partial(path: Path, option: str) -> int:
    """Create a file for its owner alone, or empty one that an interrupted run has left.

    Raises:
        UsageError: another process is writing it.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, OWNER_ONLY)
    with contextlib.ExitStack() as on_error:
        on_error.callback(os.close, descriptor)
        # Another process may have renamed the file between the two calls.
        if not (lock(descriptor) and os.path.samestat(os.fstat(descriptor), path.stat())):
            raise UsageError(
                f"another import is writing the file of {option}", "wait until it ends"
            )
        os.ftruncate(descriptor, 0)
        os.fchmod(descriptor, OWNER_ONLY)
        on_error.pop_all()
    return descriptor


def _require_ours(path: Path, columns: Sequence[str], option: str) -> None:
    """Raise UsageError if a file exists that is not of an earlier run."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        first = file.readline(_MAX_FIRST_LINE)
    if not first or _columns_of(first, path) == list(columns):
        return
    raise UsageError(
        f"{option}: {path} exists and was not written by this option",
        "choose another file, or delete it",
    )


def _columns_of(line: bytes, path: Path) -> list[str]:
    try:
        if _is_csv(path):
            return next(csv.reader([line.decode()]))
        row = json.loads(line)
    except (ValueError, csv.Error, RecursionError):
        return []
    return list(row) if isinstance(row, dict) else []


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _unwritable(path: Path, option: str, error: OSError) -> CliError:
    return CliError(f"cannot write {path}: {error.strerror}", f"choose another {option} file")
