"""Check that the workers did what one worker would have done, one command after another.

`explain` searches for an order of the commands in which the model gives every recorded outcome and
ends in the stored state. If the workers guarantee an order (a batch that is retried whole, a FIFO
group), only such orders are allowed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from application.repository import Outcome
from domain.commands import Command
from tests.reliability.invariants import Stored
from tests.reliability.model import Answer, Model
from tests.reliability.world import Sent

MOST_TRIES = 20_000
"""Commands tried before the search is given up as too long."""


class Order(Enum):
    """Which orders are allowed."""

    AS_SENT = auto()
    AS_SENT_BY_GROUP = auto()
    ANY = auto()


@dataclass(frozen=True, slots=True)
class Decided:
    """A command with its recorded outcome."""

    user_id: str | None
    command: Command
    group: Hashable
    answer: Answer
    version: int
    at: datetime
    sent_at: datetime | None

    @property
    def changes_nothing(self) -> bool:
        """Return True if the command was rejected or had no effect."""
        return self.answer[1] in {("CommandRejected",), ("CommandHadNoEffect",)}


class UnexplainedError(AssertionError):
    """No order of the commands gives the result."""


def explain(
    sent: Sequence[Sent], stored: Stored, order: Order, start: Model | None = None
) -> list[Decided]:
    """Find an order that explains the result, from `start`; duplicates count once.

    Raises:
        UnexplainedError: There is no such order.
    """
    outcomes = {outcome.command_id: outcome for outcome in stored.decided}
    distinct = {m.command_id: m for m in sent if m.command and not m.dead}
    decided = [_decided(m, outcomes[m.command_id], order) for m in distinct.values()]
    search = _Search(decided, stored)
    if search.run(start or Model(), frozenset(), []):
        return search.found
    tried = "\n".join(f"{d.user_id} {d.command!r}: {d.answer} v{d.version}" for d in decided)
    raise UnexplainedError(f"{search.why}\nin no order:\n{tried}")


def _decided(message: Sent, outcome: Outcome, order: Order) -> Decided:
    assert message.command is not None
    groups: Mapping[Order, Hashable] = {
        Order.AS_SENT: "all",
        Order.AS_SENT_BY_GROUP: message.group,
        Order.ANY: message.command_id,
    }
    names = tuple(event.type.split(".")[2] for event in outcome.events)
    code = None if outcome.code is None else str(outcome.code)
    return Decided(
        message.user_id,
        message.command,
        groups[order],
        (code, names),
        outcome.version,
        outcome.recorded_at,
        message.time,
    )


class _Search:
    """Depth-first search, which tries the order of sending first."""

    def __init__(self, decided: Sequence[Decided], stored: Stored) -> None:
        self._decided = decided
        self._stored = stored
        self._tries = 0
        self.found: list[Decided] = []
        self.why = ""

    def run(self, model: Model, done: frozenset[int], path: list[Decided]) -> bool:
        while len(done) < len(self._decided):
            steps = self._steps(model, done)
            if len(steps) != 1:
                return any(self.run(after, done | {i}, [*path, d]) for i, d, after in steps)
            ((index, each, model),) = steps
            done, path = done | {index}, [*path, each]
        differences = model.differences(self._stored)
        self.why = self.why or f"another state: {differences}"
        self.found = path
        return not differences

    def _steps(self, model: Model, done: frozenset[int]) -> list[tuple[int, Decided, Model]]:
        """Return the commands that can come next, with the model after each."""
        steps: list[tuple[int, Decided, Model]] = []
        for index, each in self._next(done):
            after = self._after(model, each)
            if after is None:
                continue
            if each.changes_nothing:  # it can come now, so no other order has to be tried
                return [(index, each, model)]
            steps.append((index, each, after))
        return steps

    def _next(self, done: frozenset[int]) -> Iterator[tuple[int, Decided]]:
        """Yield the first pending command of each group."""
        groups = set[Hashable]()
        for index, each in enumerate(self._decided):
            if index not in done and each.group not in groups:
                groups.add(each.group)
                yield index, each

    def _after(self, model: Model, each: Decided) -> Model | None:
        self._tries += 1
        assert self._tries <= MOST_TRIES, "too many orders to search: send less at a time"
        for held in (model.held, set[str]()):  # a relay may have released them before
            after = model.copy()
            after.held = {*held}
            answer = after.decide(each.user_id, each.command, each.at, each.sent_at)
            if answer == each.answer and self._version(after, each) == each.version:
                return after
        self.why = f"the model says {answer} to {each.command!r} of {each.user_id}"
        return None

    def _version(self, model: Model, each: Decided) -> int:
        user_id = each.user_id or model.owner(each.command.email)  # type: ignore[attr-defined]
        person = model.people.get(user_id or "")
        return person.events if person else 0
