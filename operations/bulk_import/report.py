"""Report the outcome of each row of an import."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from itertools import islice

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
from operations.bulk_import.row_file import RowFile
from operations.bulk_import.rows import Row

AT_ONCE = 100
"""Rows whose outcomes are read together, in one BatchGetItem."""
PAUSE = 1.0
"""Seconds between two reads of outcomes that are missing."""

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


COLUMNS = [field.name for field in fields(Line)]


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
    rows: Iterable[Row], checked: Checked, waiter: OutcomeWaiter, report: RowFile
) -> Counter[str]:
    """Write a line for every row, in the order of the file; return the number by outcome.

    Memory does not grow with the file.
    """
    counts: Counter[str] = Counter()
    report.begin()
    rest = iter(rows)
    while batch := list(islice(rest, AT_ONCE)):
        sent = [row for row in batch if row.outgoing and checked.may_be_sent(row.number)]
        outcomes = waiter.outcomes([row.outgoing.key for row in sent if row.outgoing])
        for row in batch:
            line = _line(row, outcomes, sent=checked.may_be_sent(row.number))
            counts[line.outcome] += 1
            report.add(asdict(line))
    return counts


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
