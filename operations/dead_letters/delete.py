"""Delete dead letters permanently."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from adapters.sqs.dead_letter_queue import DeadLetterQueue, StoredLetter
from operations.dead_letters.filter import LetterFilter
from operations.dead_letters.originals import Originals
from operations.dead_letters.processing import DeadLetterError, Plan, Result, process_letters
from operations.printable import counted
from operations.progress import NO_PROGRESS, Progress
from worker.connections import Aws


class Purge(NamedTuple):
    """Result of a purge."""

    result: Result
    originals: int = 0
    """Letters whose original in the quarantine queue was deleted as well."""
    left: int = 0
    """Letters whose original was left: it expires with the retention of its queue."""


def delete_letters(
    aws: Aws,
    wanted: LetterFilter,
    *,
    only: Collection[str] | None = None,
    progress: Progress = NO_PROGRESS,
) -> Purge:
    """Delete letters that match a filter; if `only` is given, only those with these ids.

    Their originals in the quarantine queue are deleted as well if the caller may do that.
    Letters are received and deleted one by one. PurgeQueue would also delete letters that arrive
    in the next minute, which were not counted.

    Raises:
        CliError: some letters could not be deleted; the message says how many were.
    """
    gone, left = 0, 0
    with (
        DeadLetterQueue(aws.sqs, aws.dead_letter_queue_url) as queue,
        Originals(aws) as originals,
    ):

        def delete(letters: Sequence[StoredLetter]) -> Sequence[StoredLetter]:
            nonlocal gone, left
            failures = queue.delete(letters)
            deleted = [letter for letter in letters if letter.message_id not in failures]
            count = originals.delete(deleted)
            gone += count
            left += sum(letter.quarantined is not None for letter in deleted) - count
            originals.renew()
            if failures:
                codes = ", ".join(sorted(set(failures.values())))
                some = counted(len(failures), "letter was", "letters were")
                raise DeadLetterError(f"{some} not deleted: {codes}")
            return deleted

        result = process_letters(queue, Plan(wanted, "deleting", only), delete, progress)
        left += originals.left
        if left:
            text = counted(
                left,
                "original was not deleted: it expires",
                "originals were not deleted: they expire",
            )
            progress.note(f"{text} in the quarantine queue", warning=True)
        return Purge(result, gone - originals.left, left)
