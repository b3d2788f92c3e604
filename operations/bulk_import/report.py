"""Report the outcome of each row of an import."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from itertools import islice

from application.key_ring import KeyRing
from application.ports import CommandKey, StoreUnavailableError
from application.repository import LoadRequest, Outcome, Status, UserRepository
from domain.commands import CommandEnvelope
from operations.bulk_import.checking import Checked
from operations.bulk_import.row_file import RowFile
from operations.bulk_import.rows import Row
from operations.dead_letters.letter import Letter

AT_ONCE = 100
"""Rows whose outcomes are read together, in one BatchGetItem."""
PAUSE = 1.0
"""Seconds between two reads of outcomes that are missing."""

ACCEPTED, REJECTED = str(Status.ACCEPTED), str(Status.REJECTED)
DUPLICATE = "duplicate"
"""The row repeats an earlier one of the file and was not sent."""
NOT_SENT = "not sent"
"""The row is invalid."""
FAILED = "failed"
"""The command is a dead letter: no worker will decide it."""
NO_ANSWER = "no answer"
"""The row was sent and has no outcome yet: the command is on the queue, or a dead letter that was
not found."""
UNDECIDED = "not decided in time: on the queue, or a dead letter"


Failures = Callable[[], Mapping[str, Letter]]
"""Reads the dead letters; returns them by command id."""


@dataclass(frozen=True, slots=True)
class Line:
    """The outcome of one row; it identifies the person by ids only."""

    row: int
    line: int
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

    def outcomes(
        self, keys: Collection[CommandKey], advance: Callable[[int], object] = lambda _: None
    ) -> dict[CommandKey, Outcome]:
        """Return the outcomes of commands; report how many more were found by each read.

        Raises:
            StoreUnavailableError: the outcomes cannot be read, even after the wait.
        """
        found: dict[CommandKey, Outcome] = {}
        while True:
            unavailable = None
            try:
                request = LoadRequest(outcomes=set(keys) - found.keys())
                more = self._repository.load(request).outcomes
                found |= more
                advance(len(more))
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
    rows: Iterable[Row],
    checked: Checked,
    waiter: OutcomeWaiter,
    failures: Failures,
    report: RowFile,
    *,
    hash_keys: KeyRing | None,
    advance: Callable[[int], object] = lambda _: None,
) -> Counter[str]:
    """Write a line for every row, in the order of the file; return the number by outcome.

    Memory does not grow with the file. The dead letters are read once, when the first outcomes are
    missing after the wait. Without the workers' `hash_keys`, an id that was used for another
    command is detected only if that command is of another type.
    """
    counts: Counter[str] = Counter()
    failed: Mapping[str, Letter] | None = None
    rest = iter(rows)
    while batch := list(islice(rest, AT_ONCE)):
        keys = {
            row.outgoing.key for row in batch if row.outgoing and checked.may_be_sent(row.number)
        }
        outcomes = waiter.outcomes(keys, advance)
        advance(len(batch) - len(outcomes))
        if failed is None and keys - outcomes.keys():
            failed = failures()
        for row in batch:
            sent = checked.may_be_sent(row.number)
            line = _line(row, outcomes, failed or {}, sent=sent, hash_keys=hash_keys)
            counts[line.outcome] += 1
            report.add(asdict(line))
    report.complete()
    return counts


def _line(
    row: Row,
    outcomes: Mapping[CommandKey, Outcome],
    failed: Mapping[str, Letter],
    *,
    sent: bool,
    hash_keys: KeyRing | None,
) -> Line:
    place = (row.number, row.line)
    if row.outgoing is None:
        detail = "; ".join(f"{each.field}: {each.rule}".removeprefix(": ") for each in row.problems)
        return Line(*place, None, None, NOT_SENT, "BadRow", detail)
    if not sent:  # its ids were not sent: they identify no command, and perhaps no user
        return Line(*place, None, None, DUPLICATE, "BadRow", "repeats an earlier row")
    envelope = row.outgoing.envelope
    command_id, outcome = envelope.command_id, outcomes.get(row.outgoing.key)
    user_id = envelope.user_id
    if user_id is None and outcome is not None:  # the command names the user by address
        user_id = outcome.user_id
    if outcome is None and command_id in failed:
        letter = failed[command_id]
        why = letter.reason, letter.stored.detail or None
        return Line(*place, user_id, command_id, FAILED, *why)
    if outcome is None:
        return Line(*place, user_id, command_id, NO_ANSWER, None, UNDECIDED)
    if not _is_of(outcome, envelope, hash_keys):
        detail = "its command_id belongs to another command"
        return Line(*place, user_id, command_id, REJECTED, "CommandIdReused", detail)
    code = outcome.code and str(outcome.code)
    return Line(*place, user_id, command_id, str(outcome.status), code)


def _is_of(outcome: Outcome, envelope: CommandEnvelope, hash_keys: KeyRing | None) -> bool:
    """Return False if an outcome under the id of a command is known to be of another command."""
    if outcome.command_type != envelope.type:
        return False
    return hash_keys is None or hash_keys.may_be(outcome.fingerprint, envelope.content_hash)
