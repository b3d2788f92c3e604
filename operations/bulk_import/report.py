"""Write the outcome of each row of an import to a file."""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TextIO

from application.ports import (
    CommandKey,
    LoadRequest,
    Outcome,
    Status,
    StoreUnavailableError,
    UserRepository,
)
from domain.commands import CreateUser, RegisterUser
from operations.bulk_import.checking import Checked
from operations.bulk_import.rows import Row
from worker.errors import CliError, UsageError

AT_ONCE = 100
"""Rows whose outcomes are read together, in one BatchGetItem."""
PAUSE = 1.0
"""Seconds between two reads of outcomes that are missing."""
COLUMNS = ("line", "email", "user_id", "command_id", "outcome", "code", "detail")

ACCEPTED, REJECTED = str(Status.ACCEPTED), str(Status.REJECTED)
DUPLICATE = "duplicate"
"""The row repeats an earlier one of the file and was not sent."""
NOT_SENT = "not sent"
"""The row is invalid."""
NO_ANSWER = "no answer"
"""The row was sent and has no outcome yet: the command is on the queue, or a dead letter."""


@dataclass(frozen=True, slots=True)
class Line:
    """The outcome of one row."""

    line: int
    email: str | None
    user_id: str | None
    command_id: str | None
    outcome: str
    code: str | None = None
    detail: str | None = None


class ReportFile:
    """Writes lines as CSV or, if the name does not end in .csv, as JSON lines."""

    def __init__(self, name: str, stream: TextIO, *, as_csv: bool) -> None:
        self._name = name
        self._stream = stream
        self._rows = csv.writer(stream) if as_csv else None
        self.counts: Counter[str] = Counter()
        """Number of rows by outcome."""

    def begin(self) -> None:
        """Truncate the file, which may contain the report of an earlier run."""
        self._stream.truncate(0)
        if self._rows is not None:
            self._rows.writerow(COLUMNS)

    def add(self, line: Line) -> None:
        """Write a line.

        Raises:
            CliError: the file cannot be written, for example on a full disk.
        """
        self.counts[line.outcome] += 1
        facts = asdict(line)
        try:
            if self._rows is not None:
                self._rows.writerow([facts[name] for name in COLUMNS])
            else:
                self._stream.write(json.dumps(facts, separators=(",", ":")) + "\n")
        except OSError as error:
            raise _unwritable(self._name, error) from error

    def end(self) -> None:
        """Flush all lines to the file; raises the errors of `add`."""
        try:
            self._stream.flush()
        except OSError as error:
            raise _unwritable(self._name, error) from error


@contextmanager
def report_file(name: str | None, others: Collection[Path]) -> Iterator[ReportFile | None]:
    """Open the report file, readable by its owner only; yield `None` without a name.

    The file contains addresses. It is opened before anything is sent, because opening may fail.

    Raises:
        UsageError: the file is another file of the import.
        CliError: the file cannot be written.
    """
    if name is None:
        yield None
        return
    path = Path(name)
    if any(path.exists() and other.exists() and path.samefile(other) for other in others):
        raise UsageError("--report must not be another file of this import", "choose another file")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError as error:
        raise _unwritable(name, error) from error
    with open(descriptor, "w", encoding="utf-8", newline="") as stream:  # noqa: PTH123 - of a descriptor
        try:
            if sys.platform != "win32":
                os.fchmod(descriptor, 0o600)
        except OSError as error:  # the file belongs to another user
            raise _unwritable(name, error) from error
        yield ReportFile(name, stream, as_csv=path.suffix.lower() == ".csv")


def _unwritable(name: str, error: OSError) -> CliError:
    return CliError(f"cannot write {name}: {error.strerror}", "choose another --report file")


class OutcomeWaiter:
    """Reads outcomes, and waits for missing ones as long as new ones are recorded."""

    def __init__(
        self,
        repository: UserRepository,
        seconds: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Create a waiter that stops when no new outcome was recorded for `seconds`."""
        self._repository = repository
        self._seconds = seconds
        self._clock = clock
        self._sleep = sleep
        self._newest = clock()

    def outcomes(self, keys: Collection[CommandKey]) -> dict[CommandKey, Outcome]:
        """Return the outcomes of commands.

        Raises:
            StoreUnavailableError: the outcomes cannot be read, even after the wait.
        """
        found: dict[CommandKey, Outcome] = {}
        while True:
            unavailable = None
            try:
                request = LoadRequest(outcomes=set(keys) - found.keys())
                found |= self._repository.load(request).outcomes
            except StoreUnavailableError as error:
                unavailable = error
            if len(found) == len(set(keys)):
                return found
            self._newest = max([self._newest, *(each.recorded_at for each in found.values())])
            if (self._clock() - self._newest).total_seconds() >= self._seconds:
                if unavailable is not None:
                    raise unavailable
                return found
            self._sleep(PAUSE)


def write_report(
    rows: Iterable[Row], checked: Checked, waiter: OutcomeWaiter, report: ReportFile
) -> None:
    """Write a line for every row, in the order of the file; memory does not grow with the file."""
    report.begin()
    rest = iter(rows)
    while batch := list(islice(rest, AT_ONCE)):
        sent = [row for row in batch if row.outgoing and checked.may_be_sent(row.number)]
        outcomes = waiter.outcomes([row.outgoing.key for row in sent if row.outgoing])
        for row in batch:
            report.add(_line(row, outcomes, sent=checked.may_be_sent(row.number)))
    report.end()


def _line(row: Row, outcomes: dict[CommandKey, Outcome], *, sent: bool) -> Line:
    if row.outgoing is None:
        detail = "; ".join(f"{each.field}: {each.rule}".removeprefix(": ") for each in row.problems)
        return Line(row.line, None, None, None, NOT_SENT, "BadRow", detail)
    envelope = row.outgoing.envelope
    command, email = envelope.command, envelope.by_email
    if isinstance(command, RegisterUser | CreateUser):
        email = command.email
    who = (None if email is None else email.value, envelope.user_id, envelope.command_id)
    if not sent:
        return Line(row.line, *who, DUPLICATE, "BadRow", "repeats an earlier row")
    outcome = outcomes.get(row.outgoing.key)
    if outcome is None:
        return Line(row.line, *who, NO_ANSWER)
    if outcome.fingerprint != envelope.fingerprint:
        detail = "its command_id belongs to another command"
        return Line(row.line, *who, REJECTED, "CommandIdReused", detail)
    return Line(row.line, *who, str(outcome.status), outcome.code and str(outcome.code))
