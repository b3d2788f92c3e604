"""The same crashes at a real endpoint, by boto3 and HTTP instead of fakes in this process.

There are fewer of them: a batch of mixed commands is crashed around each call that writes, and some
schedules are drawn from seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from domain import commands as c
from tests.builders import email, register, start_session, token, uid
from tests.reliability.endpoint_world import EndpointWorld
from tests.reliability.invariants import check
from tests.reliability.process import run_to_rest
from tests.reliability.scenarios import IN_A_MONTH
from tests.reliability.schedules import Schedule
from tests.reliability.seeds import SEEDS, USUAL_SEEDS
from tests.reliability.serial import Order, explain
from tests.reliability.wire import CRASHES, Fault, Wire, applicable, at
from tests.reliability.world import Sent, malformed, sent

DOUBTFUL = {Fault.UNANSWERED, Fault.REPEATED}
READS = frozenset({"get_queue_url", "batch_get_item", "query"})
HARD = {Fault.CRASH_BEFORE} if SEEDS <= USUAL_SEEDS else {*CRASHES, *DOUBTFUL}
"""A crash before a call is also a crash after the previous one."""
DRAWN = (3, 5, 8)


@pytest.fixture
def world(aws_endpoint: str, tmp_path: Path) -> Iterator[EndpointWorld]:
    """A world for this test only."""
    world = EndpointWorld(aws_endpoint, tmp_path)
    yield world
    world.delete()


def batch(name: str) -> tuple[Sent, ...]:
    """Create a batch with several rounds, a rejection, a second record, junk and a scrub."""
    reset = c.RequestPasswordReset(uid("p"), token("p"), IN_A_MONTH, email(f"{name}.b"))
    start = start_session(uid(f"{name} session"), token(f"{name} r0"), IN_A_MONTH)
    return (
        sent(register(f"{name}.a"), f"{name}.a"),
        sent(register(f"{name}.b"), f"{name}.b"),
        sent(start, f"{name}.a"),
        malformed(f"{{{name}"),
        sent(reset, None),
        sent(c.EraseUser(), f"{name}.a"),
        sent(register(f"{name}.a"), f"{name}.c"),
        sent(register(f"{name}.b"), f"{name}.d"),
    )


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_crash_around_each_write_loses_and_doubles_nothing(world: EndpointWorld) -> None:
    """One batch for each fault; all of them are checked together at the end."""
    wire = Wire()
    world.send(*batch("peace"))
    run_to_rest(world, wire)
    faults = [
        (number, fault)
        for number, (operation, _) in enumerate(wire.calls)
        if operation not in READS
        for fault in HARD | (DOUBTFUL if operation == "transact_write_items" else set())
        if fault in applicable(operation)
    ]
    for number, fault in faults:
        world.send(*batch(f"{number}-{fault}".replace(" ", "-")))
        run_to_rest(world, Wire(at({number: fault})))
    explain(world.sent, check(world), Order.AS_SENT)
    assert len(faults) > 10


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", DRAWN)
def test_no_schedule_loses_or_doubles_anything(
    seed: int, aws_endpoint: str, tmp_path: Path
) -> None:
    """As in `test_random_schedules.py`."""
    worlds: list[EndpointWorld] = []

    def make(*, fifo: bool) -> EndpointWorld:
        worlds.append(EndpointWorld(aws_endpoint, tmp_path, fifo=fifo))
        return worlds[0]

    try:
        Schedule(seed, make).run()
    finally:
        worlds[0].delete()
