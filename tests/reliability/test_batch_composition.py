"""The commands of a batch have the outcomes that they have one by one.

A batch reads the items of all its commands at once, so one command could see, or lose, what
another one has read.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.memory import MemoryEventPublisher, MemoryOutbox, MemoryStore, MemoryUserRepository
from application.batch import BatchHandler, Ports
from application.ports import CommandKey
from domain import commands as c
from domain.sessions import Session
from tests.builders import NOW, email, message, register, start_session, token, uid
from tests.reliability.process import PARSER, policy
from tests.reliability.schedules import KINDS, draw_command
from tests.reliability.world import Sent, StandingClock, sent

USERS = ("ada", "eve")
ABOUT_ACCESS = (
    c.ResetPassword,
    c.RequestPasswordReset,
    c.StartSession,
    c.RotateRefreshToken,
    c.RevokeSession,
    c.RevokeOtherSessions,
    c.EnableTwoFactor,
    c.UseRecoveryCode,
)
SEEDS = 20
RUNS = 40
"""Batches per seed."""


class Worker:
    """A batch handler over an empty store in memory."""

    def __init__(self) -> None:
        """Create it."""
        self.store = MemoryStore()
        clock = StandingClock(NOW)
        self._repository = MemoryUserRepository(self.store)
        ports = Ports(self._repository, MemoryOutbox(self.store), MemoryEventPublisher(), clock)
        limits = policy(lambda _: None, lambda _low, high: high, clock)
        self._handler = BatchHandler(ports, PARSER, limits)

    def handle(self, batch: Iterable[Sent]) -> None:
        """Handle a batch."""
        self._handler.handle([message(each.body) for each in batch])

    def sessions(self) -> dict[tuple[str, str], Session]:
        """Return the stored sessions; those of an erased user are deleted later, by the relay."""
        users, sessions = self.store.users, self.store.sessions
        return {
            key: replace(session, revision=0)  # how often it was written depends on the batches
            for key, session in sessions.items()
            if not users[key[0]].erased
        }

    def result(self, command: Sent) -> object:
        """Return the code and the events of a command."""
        outcome = self._repository.outcome(CommandKey(command.user_id, command.command_id))
        assert outcome is not None
        if outcome.user_id != command.user_id:  # a reference; the user's record has the events
            outcome = self._repository.outcome(CommandKey(outcome.user_id, outcome.command_id))
            assert outcome is not None
        return outcome.code, [event.type for event in outcome.events]


def _history(chance: random.Random) -> Iterator[Sent]:
    """Yield what came before: two users, often a session and a reset that was requested."""
    until = NOW + timedelta(hours=1)
    for user in USERS:
        yield sent(register(user), user)
        if chance.random() < 0.5:
            yield sent(start_session(uid("phone"), token("r0"), until), user)
        if chance.random() < 0.5:
            yield sent(c.RequestPasswordReset(uid("token"), token("mailed"), until), user)


def _draw(chance: random.Random, name: str) -> Sent:
    """Draw a command; half of the resets name their user by address."""
    command, user = draw_command(chance, chance.choice((ABOUT_ACCESS, KINDS))), chance.choice(USERS)
    if isinstance(command, c.RequestPasswordReset | c.ResetPassword):
        by_address = chance.random() < 0.5
        command = replace(command, email=email(user) if by_address else None)
        return sent(command, None if by_address else user, name)
    return sent(command, user, name)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_batch_has_the_outcomes_of_its_commands_one_by_one(seed: int) -> None:
    """Also where an address names a user whom other commands of the batch name by id."""
    chance = random.Random(seed)
    for run in range(RUNS):
        history = list(_history(chance))
        batch = [_draw(chance, f"{run} {n}") for n in range(chance.randint(2, 10))]
        together, one_by_one = Worker(), Worker()
        for worker in (together, one_by_one):
            worker.handle(history)
        together.handle(batch)
        for each in batch:
            one_by_one.handle([each])

        commands = [type(each.command).__name__ for each in batch]
        results = [together.result(each) for each in batch]
        assert results == [one_by_one.result(each) for each in batch], commands
        assert together.store.users == one_by_one.store.users, commands
        assert together.sessions() == one_by_one.sessions(), commands
