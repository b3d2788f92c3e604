"""Read dead letters, which stay in the queue; group them, or find those of commands."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from adapters.sqs.dead_letter_queue import DeadLetterQueue, Depth
from adapters.sqs.dead_letters import time_text
from operations.dead_letters.filter import LetterFilter
from operations.dead_letters.letter import Letter
from operations.progress import NO_PROGRESS, Progress
from worker.cli_errors import explain
from worker.connections import Aws
from worker.errors import CliError

MOST_LETTERS: Final = 10_000
"""Maximum number of dead letters that are read."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Result of reading dead letters."""

    letters: list[Letter]
    """Letters that match the filter."""
    looked_at: int
    depth: Depth
    """Depth of the queue when reading began."""
    complete: bool
    """Whether reading ended because no more letters came, and not at a limit."""
    fifo: bool
    now: float
    """Time when reading ended, in seconds since the epoch."""

    @property
    def behind(self) -> int:
        """Number of letters not seen, because SQS hides them behind others of their FIFO groups."""
        return max(0, self.depth.visible - self.looked_at) if self.complete and self.fifo else 0


def list_letters(
    aws: Aws,
    wanted: LetterFilter,
    most: int | None = None,
    *,
    bodies: bool = False,
    once: bool = False,
    progress: Progress = NO_PROGRESS,
) -> Listing:
    """Read letters, at most `most` in total; all of them stay in the queue.

    Letters are returned without bodies unless `bodies` is set, since there may be many. With
    `once`, reading ends at the number of letters that SQS has stated, without a wait for more.
    """
    found: list[Letter] = []
    looked_at = 0
    with DeadLetterQueue(aws.sqs, aws.dead_letter_queue_url) as queue:
        depth = queue.depth()
        total = depth.visible if most is None else min(most, depth.visible)
        with progress.track("looking", total, "letters") as advance:
            for batch in queue.letters(total if once else most):
                looked_at += len(batch)
                selected = wanted.select(map(Letter.read, batch), time.time())
                found += selected if bodies else [letter.without_body() for letter in selected]
                advance(len(batch))
                if wanted.limit is not None and len(found) >= wanted.limit:
                    queue.complete = False
                    break
        complete = queue.complete or (once and looked_at >= depth.visible)
        fifo = queue.fifo
    return Listing(found[: wanted.limit], looked_at, depth, complete, fifo, time.time())


def letters_by_command(
    aws: Aws, command_ids: Collection[str] | None = None, progress: Progress = NO_PROGRESS
) -> dict[str, Letter]:
    """Return dead letters by the id of their command; empty if they cannot be read.

    If `command_ids` is given, only the letters of these commands; reading ends when as many are
    found.
    """
    limit = None if command_ids is None else len(command_ids)
    wanted = LetterFilter(ids=[*(command_ids or ())], limit=limit)
    try:
        listing = list_letters(aws, wanted, MOST_LETTERS, progress=progress)
    except (CliError, ClientError, BotoCoreError) as error:
        text = explain(error) or type(error).__name__
        progress.note(f"dead letters were not read: {text}", warning=True)
        return {}
    if not listing.complete and (limit is None or len(listing.letters) < limit):
        progress.note(f"only {MOST_LETTERS} dead letters were searched", warning=True)
    return {each.command_id: each for each in listing.letters if each.command_id is not None}


@dataclass(slots=True)
class Group:
    """Letters with the same reason and command."""

    reason: str
    command: str
    count: int = 0
    oldest: float = float("inf")
    newest: float = 0.0
    """Seconds since the epoch."""
    redrives: int = 0
    """Highest number of redrives of any of the letters."""
    redacted: int = 0
    example: str = ""

    def add(self, letter: Letter) -> None:
        """Count a letter."""
        self.count += 1
        self.example = self.example or letter.message_id
        self.oldest = min(self.oldest, letter.stored.sent_at)
        self.newest = max(self.newest, letter.stored.sent_at)
        self.redrives = max(self.redrives, letter.stored.redrives)
        self.redacted += letter.redacted

    def facts(self) -> dict[str, object]:
        """Return the group for JSON output."""
        return {
            "reason": self.reason,
            "command": self.command,
            "letters": self.count,
            "oldest": time_text(self.oldest),
            "newest": time_text(self.newest),
            "redrives": self.redrives,
            "redacted": self.redacted,
            "example": self.example,
        }


def group_letters(letters: Iterable[Letter]) -> list[Group]:
    """Group letters by reason and command, the largest group first."""
    groups: dict[tuple[str, str], Group] = {}
    for letter in letters:
        key = (letter.reason, letter.command)
        groups.setdefault(key, Group(*key)).add(letter)
    return sorted(groups.values(), key=lambda group: (-group.count, group.reason, group.command))
