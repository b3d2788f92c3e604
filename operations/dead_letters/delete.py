"""Delete dead letters permanently."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from adapters.sqs.dead_letter_queue import DeadLetterQueue, StoredLetter
from operations.dead_letters.filter import LetterFilter
from operations.dead_letters.processing import Plan, Result, process_letters
from operations.progress import NO_PROGRESS, Progress
from worker.connections import Aws


def delete_letters(
    aws: Aws,
    wanted: LetterFilter,
    *,
    only: Collection[str] | None = None,
    progress: Progress = NO_PROGRESS,
) -> Result:
    """Delete letters that match a filter; if `only` is given, only those with these ids.

    Letters are received and deleted one by one. PurgeQueue would also delete letters that arrive
    in the next minute, which were not counted.
    """
    with DeadLetterQueue(aws.sqs, aws.dead_letter_queue_url) as queue:

        def delete(letters: Sequence[StoredLetter]) -> Sequence[StoredLetter]:
            failures = queue.delete(letters)
            return [letter for letter in letters if letter.message_id not in failures]

        return process_letters(queue, Plan(wanted, "deleting", only), delete, progress)
