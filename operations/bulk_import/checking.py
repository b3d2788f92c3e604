"""First pass over a file: check every row before the first one is sent."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

from domain.commands import CreateUser, RegisterUser
from operations.bulk_import.records import Problem
from operations.bulk_import.rows import Row
from worker.errors import CliError

_KEY_BYTES = 16


@dataclass(slots=True)
class Checked:
    """Result of the first pass."""

    rows: int = 0
    bad: int = 0
    """Number of invalid rows."""
    good: bytearray = field(default_factory=bytearray)
    """One byte per row: 1 if the row may be sent."""

    def add(self, *, good: bool) -> None:
        """Count a row."""
        self.rows += 1
        self.bad += not good
        self.good.append(good)

    def may_be_sent(self, number: int) -> bool:
        """Return True if the row with this number is valid."""
        return number <= self.rows and bool(self.good[number - 1])


class Seen:
    """Detects repeated values; it stores them on disk, so memory does not grow with the file.

    It stores keyed hashes, and the key is lost when the process ends: no address can be recovered.
    """

    def __init__(self) -> None:
        """Use a temporary database that the system removes by itself."""
        self._lines = sqlite3.connect("", isolation_level=None)
        self._lines.execute("CREATE TABLE seen (key BLOB PRIMARY KEY, line INTEGER) WITHOUT ROWID")
        self._lines.execute("BEGIN")
        self._key = secrets.token_bytes(_KEY_BYTES)

    def close(self) -> None:
        """Discard all stored values."""
        self._lines.close()

    def first(self, kind: str, value: str, line: int) -> int | None:
        """Return the line where the value occurred first, or `None` if it is new."""
        key = blake2b(f"{kind}/{value}".encode(), key=self._key, digest_size=_KEY_BYTES).digest()
        insert = "INSERT OR IGNORE INTO seen VALUES (?, ?)"
        if self._lines.execute(insert, (key, line)).rowcount:
            return None
        query = "SELECT line FROM seen WHERE key = ?"
        found: int = self._lines.execute(query, (key,)).fetchone()[0]
        return found


def check_rows(rows: Iterable[Row], tell: Callable[[Problem], object]) -> Checked:
    """Check all rows of a file in order, and report each problem to `tell`.

    Raises:
        UsageError: the rest of the file cannot be read, or its header is invalid.
        CliError: there is no disk space for the temporary database.
    """
    checked = Checked()
    try:
        seen = Seen()
        try:
            for row in rows:
                problems = row.problems or _repetitions(row, seen)
                checked.add(good=not problems)
                for problem in problems:
                    tell(problem)
        finally:
            seen.close()
    except sqlite3.Error as error:
        raise CliError(
            "no space left for temporary files", "free some space, or set TMPDIR"
        ) from error
    return checked


def _repetitions(row: Row, seen: Seen) -> tuple[Problem, ...]:
    """Return a problem if an earlier row repeats this one: the worker would reject or ignore it."""
    if row.outgoing is None:
        return ()
    envelope = row.outgoing.envelope
    once = {"command_id": f"{envelope.user_id}/{envelope.command_id}"}
    if isinstance(envelope.command, RegisterUser | CreateUser):
        address = envelope.command.email.key
        once = {"email": address, "user_id": str(envelope.user_id), **once}
    lines = [(name, seen.first(name, value, row.line)) for name, value in once.items()]
    found = [
        Problem(row.line, name, f"is already used in line {line}")
        for name, line in lines
        if line is not None
    ]
    return tuple(found[:1])  # a repeated address or user id explains the other repetitions
