"""Sends dead letters back to the queues they came from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import NamedTuple

from adapters.sqs.dead_letter_queue import DeadLetterQueue, StoredLetter
from adapters.sqs.dead_letters import REASON, REASON_ATTRIBUTES, REDRIVES, outgrown_by_reason
from adapters.sqs.sending import BatchSender, QueueMessage
from application.queue_port import FIFO_SUFFIX
from operations.dead_letters.filter import LetterFilter
from operations.dead_letters.move_task import move_all
from operations.dead_letters.processing import DeadLetterError, Plan, Result, process_letters
from operations.progress import NO_PROGRESS, Progress
from worker.connections import Aws

MAX_ATTRIBUTES = 10
"""Of a message, by SQS."""


class Redrive(NamedTuple):
    """What a redrive did, and by which method."""

    result: Result
    method: str


def redrive_letters(
    aws: Aws,
    wanted: LetterFilter,
    *,
    only: Collection[str] | None = None,
    rate: float | None = None,
    progress: Progress = NO_PROGRESS,
) -> Redrive:
    """Send back letters that a filter includes; of these the ids in `only`, if given.

    Args:
        aws: the queues.
        wanted: which letters; without a condition, SQS moves all of them where it can.
        only: ids that an operator has confirmed. They do not hold back a move by SQS, which knows
            no ids.
        rate: letters a second at most.
        progress: receives reports.

    Raises:
        CliError: not all could be sent; says how many were.
    """
    if _may_be_moved(aws, wanted):
        moved = move_all(aws, rate, progress)
        if moved is not None:
            return Redrive(Result(moved.letters, endless=moved.endless), "move_task")
    with DeadLetterQueue(aws.sqs, aws.dead_letter_queue_url) as queue:
        redriver = Redriver(queue, cache(partial(_sender, aws)))
        plan = Plan(wanted, "sending back", only, rate, in_order=True, skip=redriver.came_back)
        return Redrive(process_letters(queue, plan, redriver.redrive, progress), "batches")


def _may_be_moved(aws: Aws, wanted: LetterFilter) -> bool:
    """Return True if SQS's own task does the same.

    It has no filter, and does not know where letters came from that a worker has sent. On a FIFO
    queue a fresh deduplication id is not guaranteed.
    """
    one_queue = len(aws.settings.queues) == 1
    return (
        wanted.is_everything and one_queue and not aws.dead_letter_queue_url.endswith(FIFO_SUFFIX)
    )


def _sender(aws: Aws, queue: str | None) -> BatchSender:
    """Return a sender to the queue a letter came from, else to the command queue."""
    ours = queue in aws.settings.queues
    url = aws.queue_url(queue) if ours and queue else aws.command_queue_url
    return BatchSender(aws.sqs, url)


@dataclass(slots=True)
class Redriver:
    """Sends letters to the queues they came from and deletes what was sent.

    A crash in between leaves a letter whose command is sent already: a redrive sends it once more,
    and the worker knows the command by its id.
    """

    queue: DeadLetterQueue
    sender: Callable[[str | None], BatchSender]
    """Returns the sender for a letter's original queue (`None`: it is not known)."""
    sent: set[str] = field(default_factory=set)
    """SQS's ids of the messages that were sent."""

    def came_back(self, letter: StoredLetter) -> bool:
        """Return True if this redrive has sent the letter, and it is dead again already."""
        return letter.original_id in self.sent

    def redrive(self, letters: Sequence[StoredLetter]) -> list[StoredLetter]:
        """Send letters in hand back, in their order; return those that were sent.

        Each goes out with its group, a fresh deduplication id, its own attributes, and a count of
        redrives that is one higher.

        Raises:
            DeadLetterError: not all could be sent, or deleted; the others were.
        """
        done: list[StoredLetter] = []
        for name, part in _by_queue(letters).items():
            report = self.sender(name).send([_message(letter) for letter in part])
            taken = [letter for place, letter in enumerate(part) if place in report.message_ids]
            self.sent.update(report.message_ids.values())
            failures = self.queue.delete(taken) if taken else {}
            done += taken
            if report.code is not None:
                raise DeadLetterError(f"SQS accepted no more: {report.code}") from report.error
            if failures:
                codes = ", ".join(sorted(set(failures.values())))
                raise DeadLetterError(f"{len(failures)} were sent and not deleted: {codes}")
        return done


def _by_queue(letters: Sequence[StoredLetter]) -> Mapping[str | None, list[StoredLetter]]:
    parts: dict[str | None, list[StoredLetter]] = {}
    for letter in letters:
        parts.setdefault(letter.original_queue, []).append(letter)
    return parts


def _message(letter: StoredLetter) -> QueueMessage:
    kept = {
        name: {key: value[key] for key in _VALUES if value.get(key) is not None}
        for name, value in letter.attributes.items()
        if name not in REASON_ATTRIBUTES
    }
    count = {"DataType": "Number", "StringValue": str(letter.redrives + 1)}
    counted = {**kept, REDRIVES: count}
    too_large = outgrown_by_reason({"MessageBody": letter.body, REASON: counted})
    if len(counted) > MAX_ATTRIBUTES or too_large:  # it goes without: SQS would refuse it for ever
        counted = kept
    return QueueMessage(letter.body, letter.group_id, counted)


_VALUES = ("DataType", "StringValue", "BinaryValue")
