"""Apply an action to the dead letters that match a filter, ten at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from adapters.sqs.dead_letter_queue import DeadLetterQueue, StoredLetter
from operations.dead_letters.filter import LetterFilter
from operations.dead_letters.letter import Letter
from operations.printable import counted
from operations.progress import Progress
from operations.signals import defer_signals
from worker.errors import CliError

LEAST_BOUND = 1_000
"""Minimum number of letters to read before new ones are treated as an endless stream."""

Action = Callable[[Sequence[StoredLetter]], Sequence[StoredLetter]]
"""Processes letters in order and returns those for which it succeeded."""


class DeadLetterError(Exception):
    """An action failed; the message is one line without personal data."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Selection of letters to process, and how to process them."""

    wanted: LetterFilter
    activity: str
    """Name of the activity in progress reports."""
    only: Collection[str] | None = None
    """Ids of the letters that an operator has confirmed; `None`: all letters that match."""
    rate: float | None = None
    """Maximum letters per second."""
    in_order: bool = False
    """Whether a letter waits for earlier letters of its FIFO group."""
    skip: Callable[[StoredLetter], bool] = lambda _: False
    """Returns True for letters to leave in the queue although they match the filter."""
    ignore: Callable[[StoredLetter], bool] = lambda _: False
    """Return True for letters to leave for which later ones of the FIFO group do not wait."""


@dataclass(slots=True)
class Result:
    """Number of letters that were processed, and of those that were left."""

    done: int = 0
    behind: int = 0
    """Letters that match, but were left because an earlier letter of their group was left."""
    unconfirmed: int = 0
    """Letters that match, but were left because they arrived after the operator's confirmation."""
    unseen: int = 0
    """Letters that match, but were not received: held by another consumer, or deleted."""
    endless: bool = False
    """Whether processing stopped because letters kept arriving."""
    full: bool = False
    """Whether it ended at the limit of letters in flight, none of which matched."""

    @property
    def complete(self) -> bool:
        """Whether all letters were read."""
        return not (self.endless or self.full)

    def note(self, progress: Progress) -> None:
        """Report which letters were left, and why."""
        behind = counted(self.behind, "matching dead letter is", "matching dead letters are")
        unseen = counted(self.unseen, "more is", "more are")
        texts = (
            (self.behind, f"{behind} behind others of their FIFO group"),
            (
                self.unconfirmed,
                f"{self.unconfirmed} arrived or became visible later, and stayed: run it again",
            ),
            (self.unseen, f"{unseen} in flight at another consumer or deleted, and not read"),
            (self.full, "too many dead letters do not match: those behind them were not read"),
            (
                self.endless,
                "dead letters keep arriving: stopped after more than there were at the start",
            ),
        )
        for happened, text in texts:
            if happened:
                progress.note(text, warning=True)


def process_letters(
    queue: DeadLetterQueue, plan: Plan, action: Action, progress: Progress
) -> Result:
    """Apply an action to the letters of a plan; the others stay, and `progress` is told why.

    Raises:
        CliError: the action failed; the message says how many letters were processed before.
    """
    depth = queue.depth()
    run = _Run(plan, action, fifo=queue.fifo)
    total = plan.wanted.limit or (len(plan.only) if plan.only else depth.visible)
    with progress.track(plan.activity, total, "letters") as advance:
        bound, looked_at = max(2 * depth.total, LEAST_BOUND), 0
        for batch in queue.letters():
            looked_at += len(batch)
            done = run.process(batch)
            advance(done)
            if plan.rate:
                time.sleep(done / plan.rate)
            if run.result.done == plan.wanted.limit:
                break
            if looked_at >= bound:
                run.result.endless = True
                break
        else:
            run.result.full = not queue.complete
    if plan.wanted.limit is None:
        run.result.unseen = depth.hidden if plan.only is None else len(plan.only) - run.confirmed
    run.result.note(progress)
    return run.result


@dataclass(slots=True)
class _Run:
    """One pass through the queue."""

    plan: Plan
    action: Action
    fifo: bool
    result: Result = field(default_factory=Result)
    confirmed: int = 0
    """Number of confirmed letters that were received."""
    _blocked: set[str | None] = field(default_factory=set)
    """FIFO groups of which a letter was left in the queue."""

    def process(self, batch: Sequence[StoredLetter]) -> int:
        """Apply the action to the selected letters of a batch; return the number processed."""
        selected = self._select(batch)
        if not selected:
            return 0
        try:
            with defer_signals():  # sent and not deleted, a letter would reappear
                done = len(self.action(selected))
        except DeadLetterError as error:
            advice = "start it again: nothing is processed twice"
            before = counted(self.result.done, "dead letter was", "dead letters were")
            raise CliError(f"{error}; {before} processed before", advice) from (error)
        self.result.done += done
        return done

    def _select(self, batch: Sequence[StoredLetter]) -> list[StoredLetter]:
        selected: list[StoredLetter] = []
        now = time.time()
        limit = self.plan.wanted.limit
        for letter in batch:
            room = limit is None or self.result.done + len(selected) < limit
            matches = self.plan.wanted.includes(Letter.read(letter), now)
            if matches and self.plan.ignore(letter):
                continue
            wanted = matches and self._is_wanted(letter)
            waits = self.fifo and self.plan.in_order and letter.group_id in self._blocked
            self.result.behind += wanted and waits and room
            if wanted and room and not waits:
                selected.append(letter)
            else:
                self._blocked.add(letter.group_id)
        return selected

    def _is_wanted(self, letter: StoredLetter) -> bool:
        if self.plan.skip(letter):
            return False
        confirmed = self.plan.only is None or letter.message_id in self.plan.only
        self.confirmed += confirmed
        self.result.unconfirmed += not confirmed
        return confirmed
