from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

from adapters.memory import MemoryStore, MemoryUserRepository
from domain.ports import CommandKey, Outcome, UserChange
from tests.unit.cli.test_board import REGISTERED
from worker.cli.waiting import LONGEST_PAUSE, await_outcomes

KEY = CommandKey(REGISTERED.user_id, REGISTERED.command_id)
NEVER = CommandKey(REGISTERED.user_id, "00000000-0000-4000-8000-000000000009")


class Sleeper:
    """Sleeps by noting for how long, and stores an outcome in its `nth` sleep."""

    def __init__(self, repository: MemoryUserRepository, nth: int) -> None:
        self.pauses: list[float] = []
        self._repository = repository
        self._nth = nth

    def __call__(self, seconds: float) -> None:
        """Note the pause."""
        self.pauses.append(seconds)
        if len(self.pauses) == self._nth:
            record(self._repository, REGISTERED)


def record(repository: MemoryUserRepository, outcome: Outcome) -> None:
    """Store an outcome."""
    report = repository.commit([UserChange(outcome.user_id, (outcome,))], datetime.now(UTC))
    assert not report.conflicts
    assert not report.failures


def test_an_outcome_is_given_as_soon_as_it_is_recorded() -> None:
    """Not at the end of the time."""
    repository = MemoryUserRepository(MemoryStore())
    sleep = Sleeper(repository, nth=3)
    found = await_outcomes(repository, [KEY], 60, sleep=sleep)
    assert found[KEY].events == REGISTERED.events
    assert len(sleep.pauses) == 3


def test_the_pauses_grow_up_to_a_limit() -> None:
    """Quick at first, and cheap later."""
    repository = MemoryUserRepository(MemoryStore())
    sleep = Sleeper(repository, nth=10)
    await_outcomes(repository, [KEY], 60, sleep=sleep)
    assert all(one <= two for one, two in pairwise(sleep.pauses))
    assert sleep.pauses[-1] == LONGEST_PAUSE


def test_with_no_time_it_looks_once() -> None:
    """Asking without waiting is one read."""
    repository = MemoryUserRepository(MemoryStore())
    sleep = Sleeper(repository, nth=99)
    assert await_outcomes(repository, [KEY], 0, sleep=sleep) == {}
    assert sleep.pauses == []


def test_one_of_several_keys_is_enough_if_that_is_said() -> None:
    """A command may be kept under one of two keys."""
    repository = MemoryUserRepository(MemoryStore())
    record(repository, REGISTERED)
    sleep = Sleeper(repository, nth=99)
    found = await_outcomes(repository, [NEVER, KEY], 60, enough=1, sleep=sleep)
    assert list(found) == [KEY]
