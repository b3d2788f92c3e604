"""The unchanged messages of redacted dead letters, in the quarantine queue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from botocore.exceptions import BotoCoreError, ClientError

from adapters.aws.client import error_code
from adapters.sqs.dead_letter_queue import DeadLetterQueue, StoredLetter
from worker.cli_errors import is_denial
from worker.connections import Aws
from worker.errors import CliError

MAX_BYTES = 256 * 1024 * 1024
"""Maximum size of the bodies that are kept in memory."""


@dataclass(slots=True)
class Originals:
    """Finds the originals of dead letters; the quarantine queue is read at the first need.

    As a context manager it makes the originals visible again that were not deleted.
    """

    aws: Aws
    unavailable: str | None = None
    """Error of reading the quarantine queue; `None` if it was read, or was not needed."""
    complete: bool = True
    """Whether all originals were read."""
    left: int = 0
    """Originals that could not be deleted."""
    _queue: DeadLetterQueue | None = None
    _found: dict[str, list[StoredLetter]] = field(default_factory=lambda: defaultdict(list))
    _is_read: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Release the originals that were not deleted."""
        if self._queue is not None:
            self._queue.release()

    def of(self, letter: StoredLetter) -> StoredLetter | None:
        """Return the original of a letter; `None` if it is not there or cannot be read.

        Raises:
            ClientError, BotoCoreError: SQS did not answer. A missing queue and a denied call are
                recorded in `unavailable`.
        """
        if letter.quarantined is None:
            return None
        if not self._is_read:
            self._is_read = True
            self._read()
        found = self._found.get(letter.original_id)
        return found[0] if found else None

    def delete(self, letters: Sequence[StoredLetter]) -> int:
        """Delete all originals of letters; return how many letters had one.

        Raises nothing: the originals expire with the retention of their queue.
        """
        try:
            gone = [each.original_id for each in letters if self.of(each) is not None]
        except (ClientError, BotoCoreError):
            return 0
        for original_id in gone:
            assert self._queue is not None
            self.left += len(self._queue.delete(self._found.pop(original_id)))
        return len(gone)

    def renew(self) -> None:
        """Keep the originals invisible to others; call it regularly."""
        if self._queue is not None:
            self._queue.renew()

    def _read(self) -> None:
        name = self.aws.settings.quarantine_queue
        try:
            self._queue = DeadLetterQueue(self.aws.sqs, self.aws.queue_url(name))
            size = 0
            for page in self._queue.letters():
                for original in page:
                    size += len(original.body)
                    self._found[original.quarantined_id].append(original)
                if size > MAX_BYTES:
                    self.complete = False
                    return
            self.complete = self._queue.complete
        except CliError:
            self.unavailable = f"queue {name} does not exist"
        except ClientError as error:
            if not is_denial(error):
                raise
            self.unavailable = f"no access to queue {name} ({error_code(error)})"
