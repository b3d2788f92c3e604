"""Applies an action to the dead letters that a filter includes, ten at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from adapters.sqs.dead_letter_queue import DeadLetterQueue, StoredLetter
from operations.dead_letters.filter import LetterFilter
from operations.dead_letters.letter import Letter
from operations.progress import Progress
from operations.signals import defer_signals
from worker.errors import CliError

LEAST_BOUND = 1_000
"""Letters that are read at least, before new ones are taken for a stream without end."""

Action = Callable[[Sequence[StoredLetter]], Sequence[StoredLetter]]
"""Takes letters in hand, in order, and returns those for which it succeeded."""


class DeadLetterError(Exception):
    """An action failed; the text is one line without personal data."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which letters to process, and how."""

    wanted: LetterFilter
    activity: str
    """For progress reports."""
    only: Collection[str] | None = None
    """The ids of the letters that an operator has confirmed; `None`: all that are included."""
    rate: float | None = None
    """Letters a second at most."""
    in_order: bool = False
    """Whether a letter waits for those before it in its FIFO group."""
    skip: Callable[[StoredLetter], bool] = lambda _: False
    """Returns True for letters to leave although the filter includes them."""


@dataclass(slots=True)
class Result:
    """What was done, and what was left."""

    done: int = 0
    behind: int = 0
    """Included, and left because one before them in their group was."""
    unconfirmed: int = 0
    """Included, and left because they were not there when an operator confirmed."""
    unseen: int = 0
    """Included, and not received: another consumer holds them, or they are gone."""
    endless: bool = False
    """Whether letters kept coming."""
    full: bool = False
    """Whether it ended with as many letters in hand as can be, none of them included."""

    @property
    def complete(self) -> bool:
        """Whether all letters were looked at."""
        return not (self.endless or self.full)


def process_letters(
    queue: DeadLetterQueue, plan: Plan, action: Action, progress: Progress
) -> Result:
    """Apply an action to the letters of a plan; the others stay in the queue.

    Raises:
        CliError: the action failed; says how many letters were done before.
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
    return run.result


@dataclass(slots=True)
class _Run:
    """One pass through the queue."""

    plan: Plan
    action: Action
    fifo: bool
    result: Result = field(default_factory=Result)
    confirmed: int = 0
    """Letters that were confirmed and received."""
    _blocked: set[str | None] = field(default_factory=set)
    """FIFO groups of which a letter was left."""

    def process(self, batch: Sequence[StoredLetter]) -> int:
        """Apply the action to the letters of a batch that are selected; return how many it did."""
        selected = self._select(batch)
        if not selected:
            return 0
        try:
            with defer_signals():  # a letter that is sent and not deleted comes back minutes later
                done = len(self.action(selected))
        except DeadLetterError as error:
            advice = "run it again: no command is done twice"
            raise CliError(f"{error}; {self.result.done} letters were done before", advice) from (
                error
            )
        self.result.done += done
        return done

    def _select(self, batch: Sequence[StoredLetter]) -> list[StoredLetter]:
        selected: list[StoredLetter] = []
        now = time.time()
        limit = self.plan.wanted.limit
        for letter in batch:
            room = limit is None or self.result.done + len(selected) < limit
            wanted = self._is_wanted(letter, now)
            waits = self.fifo and self.plan.in_order and letter.group_id in self._blocked
            self.result.behind += wanted and waits and room
            if wanted and room and not waits:
                selected.append(letter)
            else:
                self._blocked.add(letter.group_id)
        return selected

    def _is_wanted(self, letter: StoredLetter, now: float) -> bool:
        if self.plan.skip(letter) or not self.plan.wanted.includes(Letter.read(letter), now):
            return False
        confirmed = self.plan.only is None or letter.message_id in self.plan.only
        self.confirmed += confirmed
        self.result.unconfirmed += not confirmed
        return confirmed
