"""Thousands of schedules: several workers, the relay and time take turns, with random faults.

Each seed draws commands (few users and addresses, so that they conflict), faults, visibility
timeouts that expire while a worker handles the message, and whose turn it is before every call and
between the items of a batch read. `USER_WORKER_CRASH_SEEDS=100000` runs that many. A failure names
its seed, and `USER_WORKER_CRASH_SEED=<seed>` runs that one alone and, with `-s`, prints its calls.
"""

from __future__ import annotations

import pytest

from tests.reliability.schedules import Schedule
from tests.reliability.seeds import ONE_SEED, SEEDS

PARTS = 8
"""Number of test cases, so that several processes can share the seeds."""


def replay(seed: int) -> Schedule:
    """Run the schedule of a seed; a failure says how to run it again."""
    schedule = Schedule(seed)
    try:
        schedule.run()
    except BaseException as error:
        error.add_note(f"replay: USER_WORKER_CRASH_SEED={seed} pytest {__file__}")
        raise
    return schedule


@pytest.mark.timeout(60 + SEEDS / 10)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_schedule_of_faults_and_turns_loses_or_doubles_anything(part: int) -> None:
    """Every invariant holds at the end, and some order of the commands explains the result."""
    for seed in range(part, SEEDS, PARTS) if ONE_SEED is None else ():
        replay(seed)


@pytest.mark.skipif(ONE_SEED is None, reason="for one seed: USER_WORKER_CRASH_SEED=<seed>")
def test_the_schedule_of_one_seed() -> None:
    """Prints its calls with their faults."""
    assert ONE_SEED is not None
    print(replay(ONE_SEED).wire)  # noqa: T201 - requested


def test_a_seed_replays_call_by_call() -> None:
    """Calls, faults and turns are the same; otherwise a failure could not be investigated."""
    for seed in (1, 7, 12):
        first, second = replay(seed), replay(seed)
        assert first.wire.calls == second.wire.calls
        assert [m.body for m in first.messages] == [m.body for m in second.messages]
