"""`USER_WORKER_REPOSITORY=memory`: a real worker without DynamoDB keeps users until it ends."""

from __future__ import annotations

from uuid import uuid4

import pytest

from domain import commands as c
from tests.builders import register
from tests.e2e.system import PREFORK, System, decided, message
from tests.e2e.worker_process import eventually

pytestmark = [pytest.mark.embedded]


def test_a_worker_keeps_users_in_memory(system: System) -> None:
    """Commands are decided, rejected and deduplicated by threads, and their events published."""
    ada, eve = str(uuid4()), str(uuid4())
    first = message(register("ada"), ada)
    rest = [message(register("ADA"), eve), message(c.AssignRole("admin"), ada)]
    with system.worker(REPOSITORY="memory") as worker:
        worker.ready()
        system.send(first)
        eventually(lambda: len(decided(worker)) == 1)
        system.send(first, *rest)
        eventually(lambda: len(decided(worker)) == 4)
        eventually(system.queues.empty)
        eventually(lambda: len(system.events()) == 3, what="three events")
    told = {(event["type"].split(".")[2], event["subject"]) for event in system.events()}
    assert told == {("UserRegistered", ada), ("CommandRejected", eve), ("RoleAssigned", ada)}
    outcomes = sorted(line["outcome"] for line in decided(worker))
    assert outcomes == ["accepted", "accepted", "duplicate", "rejected"]
    assert system.load(users={ada, eve}).users == {}  # nothing of it is in the table


def test_processes_that_could_not_share_the_memory_are_refused(system: System) -> None:
    """With prefork, each child process would have its own users. One error line says what to do."""
    with system.worker(PREFORK, REPOSITORY="memory") as worker:
        assert worker.process.wait(30) != 0
        assert "use --pool threads" in worker.log
