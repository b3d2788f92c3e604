"""Two concurrent workers: every order of their calls, with few switches between them.

Each of two workers has a message about the same users or addresses. A run is a choice of whose turn
it is before every read of an item and every transaction. The test tries all choices in which the
workers are switched at most `MOST_SWITCHES` times. Few switches suffice for nearly all races, and
`test_random_schedules.py` draws the others at random. For each choice, the result must be what some
order of the commands gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, partial

import pytest

from domain import commands as c
from tests.builders import PASSWORD, email, register, request_change, token, uid
from tests.reliability.invariants import check
from tests.reliability.process import Process, run_to_rest
from tests.reliability.scenarios import (
    CODES,
    ENABLE,
    IN_A_MONTH,
    RESET,
    RESET_BY_EMAIL,
    SESSION,
    START,
    rotate,
)
from tests.reliability.seeds import SEEDS, USUAL_SEEDS
from tests.reliability.serial import Order, explain
from tests.reliability.turns import Turns
from tests.reliability.wire import Wire
from tests.reliability.world import InProcessWorld, Sent, sent

MOST_SWITCHES = 2 if SEEDS <= USUAL_SEEDS else 3
RACING = frozenset({"batch_get_item", "transact_write_items"})
"""Calls that read or write data which the other worker uses."""

ADA = sent(register("ada"), "ada")
CONFIRM_X = c.ConfirmEmailChange(token("x"))
Race = tuple[tuple[Sent, ...], tuple[Sent, ...], tuple[Sent, ...]]


def _race(history: Sequence[tuple[c.Command, str]], *rivals: Sequence[Sent]) -> Race:
    past = tuple(sent(command, user, f"past {n}") for n, (command, user) in enumerate(history))
    first, second = rivals
    return past, tuple(first), tuple(second)


RACES: dict[str, Race] = {
    "one command, delivered twice": _race([], [ADA], [ADA]),
    "one address, two users": _race([], [ADA], [sent(register("ada"), "eve")]),
    "one user, two addresses": _race([], [ADA], [sent(register("eve"), "ada")]),
    "a rename and an erasure": _race(
        [(register("ada"), "ada")],
        [sent(c.UpdateProfile("Augusta"), "ada")],
        [sent(c.EraseUser(), "ada")],
    ),
    "an erasure and a claim of the address": _race(
        [(register("ada"), "ada")],
        [sent(c.EraseUser(), "ada")],
        [sent(register("ada"), "eve"), sent(c.EraseUser(), "eve")],
    ),
    "an erasure of a banned user and a claim of the address": _race(
        [(register("ada"), "ada"), (c.BanUser("Spam"), "ada")],
        [sent(c.EraseUser(), "ada")],
        [sent(register("ada"), "eve")],
    ),
    "a ban, an erasure and a confirmation of the address": _race(
        [(register("a"), "a"), (register("b"), "b"), (request_change("x"), "b"),
         (request_change("x"), "a"), (CONFIRM_X, "a")],
        [sent(c.BanUser("Spam"), "a"), sent(c.EraseUser(), "a")],
        [sent(CONFIRM_X, "b")],
    ),
    "a ban of an erased user ends, and a claim of the address": _race(
        [(register("ada"), "ada"), (c.BanUser("Spam"), "ada"), (c.EraseUser(), "ada")],
        [sent(c.UnbanUser(), "ada")],
        [sent(register("ada"), "eve"), sent(RESET_BY_EMAIL, None)],
    ),
    "an erasure of a banned user and a reset by address": _race(
        [(register("ada"), "ada"), (c.BanUser("Spam"), "ada")],
        [sent(c.EraseUser(), "ada")],
        [sent(RESET_BY_EMAIL, None)],
    ),
    "two users confirm one address": _race(
        [(register("a"), "a"), (register("b"), "b"), (request_change("x"), "a"),
         (request_change("x"), "b")],
        [sent(CONFIRM_X, "a")],
        [sent(CONFIRM_X, "b")],
    ),
    "two users trade addresses": _race(
        [(register("a"), "a"), (register("b"), "b"), (request_change("x"), "a")],
        [sent(CONFIRM_X, "a"), sent(register("a"), "eve")],
        [sent(request_change("a"), "b"), sent(c.ConfirmEmailChange(token("a")), "b")],
    ),
    "a reset by address, and the address moves": _race(
        [(register("ada"), "ada"), (request_change("x"), "ada")],
        [sent(RESET_BY_EMAIL, None)],
        [sent(CONFIRM_X, "ada"), sent(register("ada"), "eve")],
    ),
    "a token is used twice": _race(
        [(register("ada"), "ada"), (START, "ada")],
        [sent(rotate(0), "ada", "app")],
        [sent(rotate(0), "ada", "thief")],
    ),
    "a rotation and the end of all sessions": _race(
        [(register("ada"), "ada"), (START, "ada")],
        [sent(rotate(0), "ada")],
        [sent(c.RevokeAllSessions(), "ada"), sent(START, "ada", "again")],
    ),
    "a session starts and ends, and its user is banned": _race(
        [(register("ada"), "ada")],
        [sent(START, "ada"), sent(c.RevokeSession(SESSION), "ada")],
        [sent(c.BanUser("Spam"), "ada")],
    ),
    "a recovery code is used twice": _race(
        [(register("ada"), "ada"), (ENABLE, "ada")],
        [sent(c.UseRecoveryCode(CODES[0]), "ada", "once")],
        [sent(c.UseRecoveryCode(CODES[0]), "ada", "twice"), sent(c.DisableTwoFactor(), "ada")],
    ),
    "a password is reset and changed": _race(
        [(register("ada"), "ada"), (RESET, "ada")],
        [sent(c.ResetPassword(token("p"), PASSWORD), "ada")],
        [sent(c.ChangePassword(PASSWORD, 1), "ada"), sent(START, "ada")],
    ),
    "a batch comes to both, one message in another order": _race(
        [],
        [ADA, sent(c.AssignRole("admin"), "ada"), sent(c.EraseUser(), "ada")],
        [ADA, sent(c.EraseUser(), "ada"), sent(c.AssignRole("admin"), "ada")],
    ),
}  # fmt: skip


class Choices:
    """The turns of the processes: first the given ones, then always that of the last turn."""

    def __init__(self, told: Sequence[str]) -> None:
        """Take the first turns."""
        self._told = told
        self.made: list[str] = []
        self.could: list[Sequence[str]] = []

    def __call__(self, waiting: Sequence[str]) -> str:
        """Choose, and record the alternatives."""
        number = len(self.made)
        if number < len(self._told):
            choice = self._told[number]
        else:
            choice = self.made[-1] if self.made and self.made[-1] in waiting else waiting[0]
        self.made.append(choice)
        self.could.append(waiting)
        return choice

    def others(self) -> Iterator[list[str]]:
        """Yield the starts of runs that differ from this one after the given turns."""
        for number in range(len(self._told), len(self.made)):
            for other in self.could[number]:
                if other != self.made[number]:
                    start = [*self.made[:number], other]
                    if _switches(start, self.could) <= MOST_SWITCHES:
                        yield start


def _switches(made: Sequence[str], could: Sequence[Sequence[str]]) -> int:
    """Count the turns taken from a worker that could have continued."""
    pairs = zip(made, made[1:], could[1:], strict=False)
    return sum(before != after and before in waiting for before, after, waiting in pairs)


@cache
def after_history(history: tuple[Sent, ...]) -> InProcessWorld:
    """Apply a race's history without faults; once, for all of its runs."""
    world = InProcessWorld()
    for message in history:
        world.send(message)
        run_to_rest(world, Wire())
    return world


def run(race: Race, told: Sequence[str], order: Order = Order.ANY) -> Choices:
    """Run a race with these turns, and check the result."""
    history, *rivals = race
    world = after_history(history).copy()
    choices = Choices(told)
    turns = Turns(choices)

    def work(messages: Sequence[Sent]) -> None:
        mine = _SideDoor(world, messages)
        Process(mine, wire, sleep=lambda _: turns.pause()).poll()

    def pause_where_it_matters(operation: str) -> None:
        if operation in RACING:
            turns.pause()

    wire = Wire(pause=pause_where_it_matters)
    world.dynamodb.between_reads = turns.pause
    turns.run({name: partial(work, m) for name, m in zip("AB", rivals, strict=True)})
    world.dynamodb.between_reads = lambda: None
    run_to_rest(world, Wire())
    try:
        explain(world.sent, check(world), order)
    except AssertionError as error:
        error.add_note(f"turns: {''.join(choices.made)}\n{wire}")
        raise
    return choices


def every_run(race: Race, order: Order = Order.ANY) -> int:
    """Run a race with every choice of turns; return their number."""
    starts: list[list[str]] = [[]]
    runs = 0
    while starts:
        starts += run(race, starts.pop(), order).others()
        runs += 1
    return runs


class _SideDoor(InProcessWorld):
    """The same world, with a separate queue for one worker."""

    def __init__(self, world: InProcessWorld, messages: Sequence[Sent]) -> None:
        super().__init__(fifo=messages[0].group is not None)
        self.dynamodb, self.sns, self.clock = world.dynamodb, world.sns, world.clock
        self.send(*messages)
        world.sent += messages


@pytest.mark.parametrize("name", RACES)
def test_two_workers_come_to_what_one_could_have_come_to(name: str) -> None:
    """The test tries each order of their calls with few switches."""
    assert every_run(RACES[name]) > 10, "the workers did not meet"


LIFE = (ADA, sent(c.AssignRole("admin"), "ada"), sent(c.EraseUser(), "ada"))
LOGIN = (sent(START, "ada"), sent(rotate(0), "ada"), sent(c.RevokeAllSessions(), "ada"))
MOVE = (
    sent(CONFIRM_X, "ada", group="g"),
    sent(c.RequestPasswordReset(uid("p"), token("p"), IN_A_MONTH, email("x")), None, group="g"),
    sent(register("ada"), "eve", group="g"),
    sent(c.UpdateProfile("Eve"), "eve", group="g"),
)
LAPSES: dict[str, Race] = {
    "a life": _race([], LIFE, LIFE),
    "a login": _race([(register("ada"), "ada")], LOGIN, LOGIN),
    "a FIFO group of two users": _race(
        [(register("ada"), "ada"), (request_change("x"), "ada")], MOVE, MOVE
    ),
}


@pytest.mark.slow
@pytest.mark.timeout(300)  # its threads take turns, which takes minutes on a busy machine
@pytest.mark.parametrize("name", LAPSES)
def test_a_batch_that_comes_to_a_second_worker_too_keeps_its_order(name: str) -> None:
    """Its visibility timeout expires while the first worker handles it, without visible effect.

    On a standard queue the order holds for the commands of one user, on a FIFO queue for a group.
    """
    assert every_run(LAPSES[name], Order.AS_SENT) > 10, "the workers did not meet"
