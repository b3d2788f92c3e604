"""Some hundred real commands through each pool, with and without failures: none lost or doubled.

The tests check the effect: every command has one outcome, the versions of every user have no gap
and no repetition, and a subscriber that deduplicates by id has every event once.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import pytest

from domain import commands as c
from tests.builders import register
from tests.e2e.proxy import FaultyProxy, Slow
from tests.e2e.system import PREFORK, THREADS, Message, System, decided, event_ids, message
from tests.e2e.worker_process import FRESH, WorkerProcess, eventually

pytestmark = [pytest.mark.embedded]

SOLO = ("-P", "solo")
COMMANDS = 10
"""Commands of each user, including the registration."""
EAGER = {"RELAY_AGE": "1", "RELAY_INTERVAL": "0.2"}
"""Events that a killed child leaves in the outbox are soon published."""


def send_all(system: System, users: int) -> list[Message]:
    """Send the commands of this number of users, registrations first and ten commands twice."""
    ids = [str(uuid4()) for _ in range(users)]
    first = [message(register(user), user) for user in ids]
    rest = [
        message(c.UpdateProfile(first_name=f"{n}"), user)
        for n in range(COMMANDS - 1)
        for user in ids
    ]
    system.send(*first, *rest, *random.sample(rest, 10))
    return [*first, *rest]


def assert_none_lost_or_doubled(system: System, messages: Sequence[Message]) -> None:
    """Check outcomes, states and events of all commands, and that nothing is left over."""
    eventually(system.queues.empty, 40, "an empty queue")
    outcomes = system.outcomes(messages)
    versions: dict[str | None, list[int | None]] = {}
    for sent, outcome in zip(messages, outcomes, strict=True):
        versions.setdefault(sent.user_id, []).append(outcome.version)
    in_turn = list(range(1, COMMANDS + 1))
    assert all(sorted(each, key=int) == in_turn for each in versions.values())  # type: ignore[arg-type]
    assert {system.user(str(user)).version for user in versions} == {COMMANDS}
    told = system.published(outcomes)
    assert {event["id"] for event in system.events()} == event_ids(outcomes)
    numbers = sorted((event["subject"], int(event["sequence"])) for event in told)
    assert numbers == sorted((str(user), n) for user in versions for n in in_turn)
    eventually(lambda: system.outbox.status().pending == 0, what="an empty outbox")
    assert system.queues.dead_letters(1, seconds=0) == []


def children(worker: WorkerProcess) -> set[int]:
    """Return the child processes of a worker's pool."""
    pid = worker.process.pid
    with contextlib.suppress(FileNotFoundError):
        return {int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    return set()


@pytest.mark.parametrize("pool", [PREFORK, THREADS, SOLO], ids=["prefork", "threads", "solo"])
def test_a_pool_handles_hundreds_of_commands(pool: Sequence[str], system: System) -> None:
    """Each command is handled once, although some are sent twice."""
    with system.worker(pool, start=FRESH) as worker:
        messages = send_all(system, 20)
        assert_none_lost_or_doubled(system, messages)
        told = [line["command_id"] for line in decided(worker) if line["outcome"] == "accepted"]
    assert sorted(told) == sorted(sent.command_id for sent in messages)


def test_children_killed_in_the_middle_cost_and_double_no_command(system: System) -> None:
    """SIGKILL at any moment, repeatedly: before, during and after a commit."""
    with (
        FaultyProxy(system.endpoint) as proxy,
        system.worker(PREFORK, endpoint=proxy.url, **EAGER) as worker,
    ):
        worker.ready()
        proxy.inject(Slow(0.05))  # slow enough that a kill can hit every step
        messages = send_all(system, 12)
        for kill in range(3):
            done = proxy.calls["TransactWriteItems"]
            eventually(
                lambda n=done + 1 + kill % 3: proxy.calls["TransactWriteItems"] >= n,  # type: ignore[misc]
                what="more work",
            )
            os.kill(random.choice(sorted(children(worker))), signal.SIGKILL)
        proxy.clear()
        assert_none_lost_or_doubled(system, messages)
        assert worker.log.count("batch_unsettled") >= 1
        assert worker.process.poll() is None, worker.log


def test_the_time_limit_costs_and_doubles_no_command(system: System) -> None:
    """Children are killed while they wait for a commit, which takes effect after the kill."""
    with (
        FaultyProxy(system.endpoint) as proxy,
        system.worker((*PREFORK, "--time-limit", "2"), endpoint=proxy.url, **EAGER) as worker,
    ):
        worker.ready()
        hanging = proxy.inject(Slow(3), "TransactWriteItems", times=2)
        messages = send_all(system, 12)
        assert_none_lost_or_doubled(system, messages)
        assert hanging.hits == 2
        assert worker.log.count("batch_unsettled") >= 2
        assert worker.process.poll() is None, worker.log


def test_replaced_children_cost_and_double_no_command(system: System) -> None:
    """`worker_max_tasks_per_child` replaces each child after three batches."""
    with system.worker(
        (*PREFORK, "--max-tasks-per-child", "3"), BATCH_SIZE="10", **EAGER
    ) as worker:
        worker.ready()
        seen: set[int] = set(children(worker))
        messages = send_all(system, 12)

        def replaced() -> bool:
            seen.update(children(worker))
            return len(seen) >= 5

        eventually(replaced, what="five children, one after the other")
        assert_none_lost_or_doubled(system, messages)
        assert worker.process.poll() is None, worker.log
