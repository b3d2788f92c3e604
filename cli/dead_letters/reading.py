"""Reads dead letters for a command, groups them, and says what was not seen."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from adapters.sqs.dead_letter_queue import DeadLetterQueue, Depth
from cli import composition, output
from cli.ages import age_text
from cli.dead_letters.choice import LetterFilter
from cli.dead_letters.letter import Letter, time_text
from cli.progress import progress
from cli.stopping import stop_on_signals


@dataclass(slots=True)
class Group:
    """Letters of one reason and one command."""

    reason: str
    command: str
    count: int = 0
    oldest: float = float("inf")
    newest: float = 0.0
    """Seconds since the epoch."""
    redrives: int = 0
    """Of the one that came back most often."""
    redacted: int = 0
    example: str = ""

    def add(self, letter: Letter) -> None:
        """Count a letter in."""
        self.count += 1
        self.example = self.example or letter.message_id
        self.oldest = min(self.oldest, letter.stored.sent_at)
        self.newest = max(self.newest, letter.stored.sent_at)
        self.redrives = max(self.redrives, letter.stored.redrives)
        self.redacted += letter.redacted

    def facts(self) -> dict[str, object]:
        """Give it for programs."""
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


def grouped(letters: Iterable[Letter]) -> list[Group]:
    """Group by reason and command, the most first."""
    groups: dict[tuple[str, str], Group] = {}
    for letter in letters:
        key = (letter.reason, letter.command)
        groups.setdefault(key, Group(*key)).add(letter)
    return sorted(groups.values(), key=lambda group: (-group.count, group.reason, group.command))


def group_table(groups: Iterable[Group], now: float) -> Table:
    """Lay groups out, a line each."""
    table = output.plain_table("reason", "command", "letters", "oldest", "newest", "came back")
    for each in groups:
        ages = [age_text(max(0.0, now - moment)) for moment in (each.oldest, each.newest)]
        back = f"{each.redrives}x" if each.redrives else "-"
        reason = Text(output.printable(each.reason))  # no markup: anyone may have written it
        table.add_row(reason, each.command, str(each.count), *ages, back)
    return table


@contextmanager
def opened(aws: composition.Aws) -> Iterator[DeadLetterQueue]:
    """Open the dead-letter queue; what is in hand at the end, or at Ctrl-C, is given back."""
    with (
        stop_on_signals(),
        DeadLetterQueue(aws.sqs, aws.dead_letter_queue_url) as queue,
    ):
        yield queue


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at the queue has found."""

    letters: list[Letter]
    """Those that are meant."""
    looked_at: int
    depth: Depth
    """When the look began."""
    complete: bool
    now: float
    """When it ended, in seconds since the epoch."""


def look(
    aws: composition.Aws, choice: LetterFilter, most: int | None = None, *, bodies: bool = False
) -> Seen:
    """Look at letters, `most` of them in all, and leave all of them where they are.

    Their bodies are given only if asked for, since there may be many.
    """
    found: list[Letter] = []
    looked_at = 0
    with opened(aws) as queue:
        depth = queue.depth()
        total = depth.visible if most is None else min(most, depth.visible)
        with progress("looking", total, "letters") as tell:
            for batch in queue.letters(most):
                looked_at += len(batch)
                chosen = choice.chosen(map(Letter.read, batch), time.time())
                found += chosen if bodies else [letter.without_body() for letter in chosen]
                tell(len(batch))
                if choice.limit is not None and len(found) >= choice.limit:
                    queue.complete = False
                    break
        complete = queue.complete
    return Seen(found[: choice.limit], looked_at, depth, complete, time.time())


def say_unseen(aws: composition.Aws, seen: Seen) -> None:
    """Say on standard error what may be there that was not looked at."""
    console = output.stderr()
    if seen.depth.hidden:
        count = seen.depth.hidden
        console.print(f"{count} more are in somebody's hands, and were not seen", style="yellow")
    if not seen.complete:
        total = seen.depth.visible
        text = f"looked at {seen.looked_at} of about {total} letters; --limit sets how many"
        console.print(text, style="yellow")
    elif aws.dead_letter_queue_url.endswith(".fifo") and seen.looked_at < seen.depth.visible:
        behind = seen.depth.visible - seen.looked_at
        text = f"about {behind} more stand behind others of their groups, which SQS hides meanwhile"
        console.print(text, style="yellow")
