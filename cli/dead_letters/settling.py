"""Goes through the dead-letter queue and settles the letters that are meant, ten at a time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from adapters.sqs.dead_letter_queue import DeadLetterQueue, StoredLetter
from application.queue_port import FIFO_SUFFIX
from cli import composition, output
from cli.dead_letters.choice import LetterFilter
from cli.dead_letters.letter import Letter
from cli.dead_letters.reading import Seen, group_table, grouped, look, opened, say_unseen
from cli.progress import progress
from cli.stopping import finishing
from operations.dead_letters.redrive import RedriveError
from worker.errors import CliError, ExitCode, UsageError

LEAST_BOUND = 1_000
"""Letters that are gone through at least, before new ones are taken for a stream without end."""

Settle = Callable[[Sequence[StoredLetter]], Sequence[StoredLetter]]
"""Settles letters in hand, in order; gives those that it has settled."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with which letters."""

    choice: LetterFilter
    doing: str
    """Said of the work in hand."""
    rate: float | None = None
    """Letters a second at most."""
    only: Collection[str] | None = None
    """The ids of the letters that somebody agreed to; `None`: all that are meant."""
    in_order: bool = False
    """Whether a letter waits for those before it in its FIFO group."""
    passes_over: Callable[[StoredLetter], bool] = lambda _: False
    """Says which letters are not meant although they are as asked for."""


@dataclass(slots=True)
class Result:
    """What was done."""

    settled: int = 0
    behind: int = 0
    """Meant, and left because one before them in their group was."""
    unagreed: int = 0
    """As asked for, and left because nobody had seen them when it was agreed."""
    unseen: int = 0
    """Meant, and not to be had: in somebody's hands, or gone."""
    endless: bool = False
    """Whether letters kept coming."""
    full: bool = False
    """Whether it ended with as many letters in hand as can be, none of them meant."""

    @property
    def code(self) -> ExitCode:
        """What a script learns: whether all that was meant was looked at."""
        return ExitCode.NEGATIVE if self.endless or self.full else ExitCode.OK


def work_through(
    aws: composition.Aws, plan: Plan, make: Callable[[DeadLetterQueue], Settle]
) -> Result:
    """Settle the letters that are meant; the others are where they were at the end.

    Args:
        aws: where.
        plan: which, and how fast.
        make: gives what settles letters of a queue.

    Raises:
        CliError: not all could be settled; says how many were.
    """
    result = Result()
    with opened(aws) as queue:
        depth = queue.depth()
        selection = _Selection(plan, fifo=queue.fifo)
        total = plan.choice.limit or (len(plan.only) if plan.only else depth.visible)
        with progress(plan.doing, total, "letters") as tell:
            settle = _telling(make(queue), tell)
            _go_through(queue, plan, selection, settle, result, max(2 * depth.total, LEAST_BOUND))
    result.behind, result.unagreed = selection.behind, selection.unagreed
    if plan.choice.limit is None:
        result.unseen = depth.hidden if plan.only is None else len(plan.only) - selection.met
    return result


def _telling(settle: Settle, tell: Callable[[int], object]) -> Settle:
    def settle_and_tell(letters: Sequence[StoredLetter]) -> Sequence[StoredLetter]:
        done = settle(letters)
        tell(len(done))
        return done

    return settle_and_tell


def _go_through(
    queue: DeadLetterQueue,
    plan: Plan,
    selection: _Selection,
    settle: Settle,
    result: Result,
    bound: int,
) -> None:
    """Settle until nothing more comes, all that may be is settled, or `bound` were looked at."""
    looked_at = 0
    for batch in queue.letters():
        looked_at += len(batch)
        chosen = selection.take(batch, result.settled)
        done = _settle(settle, chosen, result) if chosen else ()
        if plan.rate:
            time.sleep(len(done) / plan.rate)
        if result.settled == plan.choice.limit:
            return
        if looked_at >= bound:
            result.endless = True
            return
    result.full = not queue.complete


def _settle(
    settle: Settle, chosen: Sequence[StoredLetter], result: Result
) -> Sequence[StoredLetter]:
    try:
        with finishing():  # what is sent has to be deleted, or it comes back minutes later
            done = settle(chosen)
    except RedriveError as error:
        advice = "run it again: no command is done twice"
        raise CliError(f"{error}; {result.settled} letters before were done", advice) from error
    result.settled += len(done)
    return done


class _Selection:
    """Picks the letters that are meant."""

    def __init__(self, plan: Plan, *, fifo: bool) -> None:
        self._plan = plan
        self._grouped = fifo and plan.in_order
        self._waiting: set[str | None] = set()
        self.behind = 0
        self.unagreed = 0
        self.met = 0
        """Those that were agreed to and seen."""

    def take(self, batch: Sequence[StoredLetter], settled: int) -> list[StoredLetter]:
        """Give those of a batch that are meant, in order, when so many are settled."""
        taken: list[StoredLetter] = []
        now = time.time()
        limit = self._plan.choice.limit
        for letter in batch:
            room = limit is None or settled + len(taken) < limit
            meant = self._is_meant(letter, now)
            waits = self._grouped and letter.group_id in self._waiting
            self.behind += meant and waits and room
            if meant and room and not waits:
                taken.append(letter)
            else:
                self._waiting.add(letter.group_id)
        return taken

    def _is_meant(self, letter: StoredLetter, now: float) -> bool:
        if self._plan.passes_over(letter):
            return False
        if not self._plan.choice.includes(Letter.read(letter), now):
            return False
        agreed = self._plan.only is None or letter.message_id in self._plan.only
        self.met += agreed
        self.unagreed += not agreed
        return agreed


def say_rest(result: Result) -> None:
    """Say on standard error what was left, and why."""
    console = output.stderr()
    if result.behind:
        text = f"{result.behind} that are meant wait behind others of their FIFO group"
        console.print(text, style="yellow")
    if result.unagreed:
        text = f"{result.unagreed} came, or could be seen, only later and were left: run it again"
        console.print(text, style="yellow")
    if result.unseen:
        text = f"{result.unseen} more are in somebody's hands, or gone, and were not seen"
        console.print(text, style="yellow")
    if result.full:
        text = "too many letters that are not meant: what lies behind them was not looked at"
        console.print(text, style="yellow")
    if result.endless:
        text = "letters keep coming: ended after more than there were"
        console.print(text, style="yellow")


def preview(aws: composition.Aws, choice: LetterFilter, fate: str) -> Seen:
    """Show which letters are meant, and what would become of them.

    Raises:
        CliError: there is none, though ids were given.
    """
    seen = look(aws, choice)
    console = output.stderr()
    if seen.letters:
        console.print(group_table(grouped(seen.letters), seen.now))
    redacted = sum(letter.redacted for letter in seen.letters)
    if redacted:
        text = f"{redacted} have lost a secret, and most likely come back: send new commands"
        console.print(text, style="yellow")
    console.print(f"{len(seen.letters)} of {seen.looked_at} dead letters {fate}")
    if choice.limit is None:
        say_unseen(aws, seen)
    require_named(choice, len(seen.letters))
    return seen


def require_named(choice: LetterFilter, count: int) -> None:
    """See that letters that were named are there.

    Raises:
        CliError: none of them is.
    """
    if choice.ids and not count:
        advice = "`user-worker dlq list --each` has the ids of those that are"
        raise CliError("no such dead letter", advice, ExitCode.NEGATIVE)


def require_terminal(doing: str) -> None:
    """See that there is somebody to ask.

    Raises:
        UsageError: there is not.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"nobody is here to agree to {doing}", "say --yes, or --dry-run to see")


def is_fifo(url: str) -> bool:
    """Say whether a queue keeps the order of groups."""
    return url.endswith(FIFO_SUFFIX)
