"""Send dead letters back to the queues they came from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from adapters.sqs.dead_letter_queue import DeadLetterQueue, StoredLetter
from adapters.sqs.dead_letters import (
    ORIGINAL_SENT_AT,
    PRINCIPAL,
    REASON,
    REASON_ATTRIBUTES,
    REDACTED,
    REDRIVES,
    UNKNOWN_PRINCIPAL,
    outgrown_by_reason,
    time_text,
)
from adapters.sqs.sending import BatchSender, QueueMessage
from application.queue_port import FIFO_SUFFIX
from operations.dead_letters.filter import LetterFilter
from operations.dead_letters.forecast import HOPELESS, Forecast, hopeless_text
from operations.dead_letters.letter import Letter
from operations.dead_letters.move_task import move_all
from operations.dead_letters.originals import Originals
from operations.dead_letters.processing import DeadLetterError, Plan, Result, process_letters
from operations.printable import counted
from operations.progress import NO_PROGRESS, Progress
from operations.status import queue_depths
from worker.connections import Aws
from worker.errors import CliError

_NOT_FOUND = {
    True: "their originals are not in the quarantine queue",
    False: "the quarantine queue has more messages than can be read at once: start it again",
}
"""Why an original was not found, by whether all were read."""
BREAK_GLASS = (
    "Run it with a role that may read the quarantine queue, or purge them "
    "(docs/how-to/dead-letters.md)"
)
MAX_ATTRIBUTES = 10
"""Maximum attributes of an SQS message."""


class Redrive(NamedTuple):
    """Result and method of a redrive."""

    result: Result
    method: str
    without_original: int = 0
    """Redacted letters that were left because their original could not be read."""
    forecast: str | None = None
    """Letters that were sent although they fail again; one line."""
    hopeless: int = 0
    """Letters that were left because they cannot succeed."""


def redrive_letters(
    aws: Aws,
    wanted: LetterFilter,
    *,
    only: Collection[str] | None = None,
    rate: float | None = None,
    move_task: bool = False,
    force: bool = False,
    progress: Progress = NO_PROGRESS,
) -> Redrive:
    """Send back letters that match a filter; if `only` is given, only those with these ids.

    Args:
        aws: the queues.
        wanted: the filter.
        only: ids that an operator has confirmed. A move by SQS ignores them, because it does not
            support ids.
        rate: maximum letters per second.
        move_task: let SQS move all letters if it can and the filter has no conditions. SQS does not
            add `original_sent_at` to the letters that it dead-lettered itself.
        force: also send letters that cannot succeed. SQS's task moves them in any case.
        progress: receives progress reports.

    Raises:
        CliError: some letters could not be sent; the message says how many were.
    """
    if move_task and _may_be_moved(aws, wanted):
        moved = move_all(aws, rate, progress)
        if moved is not None:
            moved.note(progress)
            return Redrive(moved, "move_task")
    with (
        DeadLetterQueue(aws.sqs, aws.dead_letter_queue_url) as queue,
        Originals(aws) as originals,
    ):
        redriver = Redriver(queue, originals, cache(partial(_sender, aws, progress)))
        plan = Plan(
            wanted,
            "redriving",
            only,
            rate,
            in_order=True,
            skip=redriver.skips,
            ignore=(lambda _: False) if force else redriver.is_hopeless,
        )
        result = process_letters(queue, plan, redriver.redrive, progress)
        redriver.note(progress)
        return Redrive(
            result,
            "batches",
            len(redriver.without_original),
            redriver.forecast.text,
            len(redriver.hopeless),
        )


def _may_be_moved(aws: Aws, wanted: LetterFilter) -> bool:
    """Return True if SQS's own task has the same effect.

    It has no filter, and does not know the original queue of letters that a worker has sent. On a
    FIFO queue, it does not guarantee a new deduplication id. It passes on the attributes of a
    letter that SQS moved, in which the sender may have stated another principal. It would send the
    redacted body of a letter instead of its original.
    """
    one_queue = len(aws.settings.queues) == 1
    permitted = aws.settings.permissions is None and aws.settings.env != "prod"
    fifo = aws.dead_letter_queue_url.endswith(FIFO_SUFFIX)
    could = wanted.is_everything and one_queue and permitted and not fifo
    return could and _quarantine_is_empty(aws)


def _quarantine_is_empty(aws: Aws) -> bool:
    """Return True if the quarantine queue can be seen and has no messages."""
    try:
        url = aws.queue_url(aws.settings.quarantine_queue)
        return not any(queue_depths(aws, url).values())
    except (CliError, ClientError):
        return False


def _sender(aws: Aws, progress: Progress, queue: str | None) -> BatchSender:
    """Return a sender to the queue that a letter came from, or else to the command queue."""
    if queue in aws.settings.queues:
        return BatchSender(aws.sqs, aws.queue_url(queue))
    if queue is not None:
        progress.note(
            f"letters of queue {queue}, which is not in the settings, are sent to "
            f"{aws.settings.command_queue}; to send them back, name it in "
            "USER_WORKER_ADDITIONAL_QUEUES",
            warning=True,
        )
    return BatchSender(aws.sqs, aws.command_queue_url)


@dataclass(slots=True)
class Redriver:
    """Sends letters to the queues they came from, and deletes the letters that were sent.

    After a crash between the two steps, a letter remains whose command is already sent: the next
    redrive sends it again, and the worker detects the duplicate by the command's id.
    """

    queue: DeadLetterQueue
    originals: Originals
    sender: Callable[[str | None], BatchSender]
    """Returns the sender for a letter's original queue (`None`: unknown)."""
    sent: set[str] = field(default_factory=set)
    """SQS message ids of the messages that were sent."""
    too_large: set[str] = field(default_factory=set)
    """SQS message ids of letters without room for their sender."""
    without_original: set[str] = field(default_factory=set)
    """SQS message ids of redacted letters whose original could not be read."""
    forecast: Forecast = field(default_factory=Forecast)
    """Of the letters that were sent."""
    hopeless: set[str] = field(default_factory=set)
    """SQS message ids of letters that cannot succeed."""

    def note(self, progress: Progress) -> None:
        """Report which letters were left because of their content, and why."""
        if self.hopeless:
            progress.note(hopeless_text(len(self.hopeless)), warning=True)
        if self.too_large:
            left = counted(len(self.too_large), "was left", "were left")
            progress.note(f"{left}: no room to state the sender", warning=True)
        if self.without_original:
            left = counted(
                len(self.without_original),
                "redacted dead letter was left",
                "redacted dead letters were left",
            )
            why = self.originals.unavailable or _NOT_FOUND[self.originals.complete]
            progress.note(f"{left}: {why}. {BREAK_GLASS}", warning=True)

    def is_hopeless(self, letter: StoredLetter) -> bool:
        """Return True if a letter cannot succeed, and count it."""
        if letter.reason != HOPELESS:
            return False
        self.hopeless.add(letter.message_id)
        return True

    def skips(self, letter: StoredLetter) -> bool:
        """Return True if a letter stays.

        It came back, or its original cannot be read, or there is no room for its sender. Without a
        stated sender it would count as a command of the operator who redrives it, so a
        sender could get an operator's permissions by a body that is as long as SQS allows.
        """
        if letter.original_id in self.sent:
            return True
        if letter.quarantined == REDACTED and self.originals.of(letter) is None:
            self.without_original.add(letter.message_id)
            return True
        if _fits(self._body(letter), {PRINCIPAL: _sender_of(letter)}):
            return False
        self.too_large.add(letter.message_id)
        return True

    def _body(self, letter: StoredLetter) -> str:
        """Return the body of the original if there is one, else of the letter."""
        return (self.originals.of(letter) or letter).body

    def redrive(self, letters: Sequence[StoredLetter]) -> list[StoredLetter]:
        """Send received letters back, in order; return those that were sent.

        Each is sent with the body of its original if that can be read, with its group, a new
        deduplication id, its own attributes, the time when it was first sent, and the number of
        redrives incremented by one.

        Raises:
            DeadLetterError: some letters could not be sent, or not deleted; the others were.
        """
        done: list[StoredLetter] = []
        for name, part in _by_queue(letters).items():
            messages = [_message(letter, self._body(letter)) for letter in part]
            report = self.sender(name).send(messages)
            taken = [letter for place, letter in enumerate(part) if place in report.message_ids]
            self.sent.update(report.message_ids.values())
            failures = self.queue.delete(taken) if taken else {}
            for letter in taken:
                self.forecast.add(Letter.read(letter))
            self.originals.delete([each for each in taken if each.message_id not in failures])
            done += taken
            if report.code is not None:
                raise DeadLetterError(f"SQS rejected a message: {report.code}") from report.error
            if failures:
                codes = ", ".join(sorted(set(failures.values())))
                raise DeadLetterError(
                    f"{counted(len(failures), 'was', 'were')} sent but not deleted: {codes}"
                )
        self.originals.renew()
        return done


def _by_queue(letters: Sequence[StoredLetter]) -> Mapping[str | None, list[StoredLetter]]:
    parts: dict[str | None, list[StoredLetter]] = {}
    for letter in letters:
        parts.setdefault(letter.original_queue, []).append(letter)
    return parts


def _message(letter: StoredLetter, body: str) -> QueueMessage:
    kept = {
        name: {key: value[key] for key in _VALUES if value.get(key) is not None}
        for name, value in letter.attributes.items()
        if name not in REASON_ATTRIBUTES
    }
    first_sent = {"DataType": "String", "StringValue": time_text(letter.original_sent_at)}
    sender = _sender_of(letter)
    dated = {PRINCIPAL: sender, ORIGINAL_SENT_AT: first_sent, **kept}
    count = {"DataType": "Number", "StringValue": str(letter.redrives + 1)}
    # If SQS would reject the message: the sender and the age matter more than the last of its own
    # attributes, which the worker does not read. The sender is always stated: without it, the
    # message would count as a command of the operator who redrives it.
    choices = {**dated, REDRIVES: count}, dated, dict(list(dated.items())[:MAX_ATTRIBUTES])
    attributes = next((each for each in choices if _fits(body, each)), {PRINCIPAL: sender})
    return QueueMessage(body, letter.group_id, attributes)


def _sender_of(letter: StoredLetter) -> dict[str, str]:
    return {"DataType": "String", "StringValue": letter.principal or UNKNOWN_PRINCIPAL}


def _fits(body: str, attributes: Mapping[str, Any]) -> bool:
    too_large = outgrown_by_reason({"MessageBody": body, REASON: attributes})
    return len(attributes) <= MAX_ATTRIBUTES and not too_large


_VALUES = ("DataType", "StringValue", "BinaryValue")
