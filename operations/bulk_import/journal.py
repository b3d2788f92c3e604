"""Progress of an import in a file beside the imported one, so that the import can be resumed."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from worker.errors import CliError, UsageError

SYNC_EVERY = 1.0
"""Seconds between two syncs. Rows lost in a power failure are sent again under the same ids."""
_AGAIN = "or start again with --journal NEWFILE: no row is processed twice"
_OTHERWISE = {
    "file_sha256": (
        "another file, or the file has changed",
        "restore the file, or import it as new commands with --journal NEWFILE",
    ),
    "options_sha256": ("an import with other options", f"use the same options, {_AGAIN}"),
    "queue": ("an import into another queue", f"correct USER_WORKER_COMMAND_QUEUE, {_AGAIN}"),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """The import that a journal belongs to."""

    file_sha256: str
    options_sha256: str
    """Digest of the options that determine the command of a row."""
    queue: str


class Journal:
    """Journal of one import: a line for the plan, and one for each accepted batch."""

    def __init__(self, path: Path, plan: Plan, clock: Callable[[], float] = time.monotonic) -> None:
        """Use the file at `path`; nothing is read or written yet. `clock` returns seconds."""
        self.path = path
        self.sent = bytearray()
        """One byte per row, up to the last one sent: 1 if the queue has accepted the row."""
        self._plan = plan
        self._clock = clock
        self._file = -1
        self._synced = 0.0

    def load(self) -> None:
        """Read the progress of earlier runs; an incomplete last line is ignored.

        Raises:
            UsageError: the journal belongs to another import, or is damaged.
            CliError: the journal cannot be read.
        """
        try:
            if not self.path.exists():
                return
            if not self.path.is_file():
                raise UsageError(
                    f"the journal {self.path} is not a file", "choose another --journal"
                )
            self._read(self.path.read_bytes())
        except OSError as error:
            raise self._unusable("read", error) from error

    def open(self) -> None:
        """Lock the journal until `close`, and continue at its end; also raises errors of `load`.

        Raises:
            UsageError: another import is writing the journal.
            CliError: the journal cannot be written.
        """
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            if not lock(self._file):
                raise UsageError(
                    f"another import is using the journal {self.path}", "wait until it ends"
                )
            self.load()
            content = self.path.read_bytes()
            whole = content.rfind(b"\n") + 1
            os.ftruncate(self._file, whole)
            if not whole:
                self._write({"import": 1, **asdict(self._plan)})
            self._sync()
        except OSError as error:
            raise self._unusable("write", error) from error

    def record(self, rows: Sequence[int]) -> None:
        """Record that the queue has accepted these rows, in ascending order.

        Raises:
            CliError: the journal cannot be written, for example on a full disk.
        """
        if not rows:
            return
        try:
            self._write({"sent": list(_ranges(rows))})
            if self._clock() - self._synced >= SYNC_EVERY:
                self._sync()
        except OSError as error:
            raise self._unusable("write", error) from error
        for number in rows:
            self._mark(number, number)

    def has(self, number: int) -> bool:
        """Return True if the row with this number was sent."""
        return number <= len(self.sent) and bool(self.sent[number - 1])

    def close(self) -> None:
        """Sync the journal to disk and unlock it."""
        if self._file < 0:
            return
        file, self._file = self._file, -1
        try:
            os.fsync(file)
        except OSError as error:
            raise self._unusable("write", error) from error
        finally:
            os.close(file)

    def _write(self, line: dict[str, Any]) -> None:
        data = (json.dumps(line, separators=(",", ":")) + "\n").encode()
        if os.write(self._file, data) < len(data):
            raise OSError(0, "no space left")

    def _sync(self) -> None:
        os.fsync(self._file)
        self._synced = self._clock()

    def _unusable(self, what: str, error: OSError) -> CliError:
        advice = (
            "choose another --journal or free disk space, then run the command again to continue"
        )
        return CliError(f"cannot {what} the journal {self.path}: {error.strerror}", advice)

    # --- reading ---

    def _read(self, content: bytes) -> None:
        self.sent = bytearray()
        lines = content.split(b"\n")[:-1]  # text after the last line end is an incomplete line
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                if number == 1:
                    self._require_ours(entry)
                else:
                    for first, last in entry["sent"]:
                        self._mark(first, last)
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise UsageError(
                    f"line {number} of the journal {self.path} is damaged", f"repair it, {_AGAIN}"
                ) from error

    def _require_ours(self, entry: dict[str, Any]) -> None:
        plan = asdict(self._plan)
        if entry["import"] != 1 or plan.keys() - entry.keys():
            raise ValueError("not a journal of an import")
        for name, (other, advice) in _OTHERWISE.items():
            if entry[name] != plan[name]:
                raise UsageError(f"the journal {self.path} belongs to {other}", advice)

    def _mark(self, first: int, last: int) -> None:
        if not (type(first) is type(last) is int and 1 <= first <= last < 2**40):
            raise ValueError("not a range of rows")
        self.sent.extend(bytes(max(0, last - len(self.sent))))
        self.sent[first - 1 : last] = b"\1" * (last - first + 1)


def lock(descriptor: int) -> bool:
    """Lock an open file until it is closed; return False if another process has locked it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _ranges(rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield ascending numbers as inclusive ranges."""
    first = last = rows[0]
    for number in rows[1:]:
        if number != last + 1:
            yield first, last
            first = number
        last = number
    yield first, last
