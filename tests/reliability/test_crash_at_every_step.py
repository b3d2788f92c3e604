"""A crash at every step: the promise that nothing is lost and nothing is done twice.

How it works, from the bottom up:

- `in_process_dynamodb.py`, `in_process_sqs.py`, `in_process_sns.py`: AWS in this process.
- `wire.py`: what every call goes over. It numbers the calls, and at the numbers that it is told
  it loses the call, its answer or the whole process.
- `process.py`: a worker, made of the real batch handler, adapters, settlement and relay; and
  `run_to_rest`, which starts another worker after each crash until nothing is left to do.
- `invariants.py`: what has to hold then, whatever happened.
- `model.py`, `serial.py`: the rules once more, in their simplest form, and whether what happened
  is what these rules give for the commands one by one.
- `scenarios.py`: every kind of command, and batches in which they meet.

Here each scenario is run in peace first, to count its calls, and then once for each call and each
thing that can become of it. To see one run, call `run` with the scenario and the faults that a
failure names, and print the wire.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

import pytest

from tests.reliability.invariants import check
from tests.reliability.model import Model
from tests.reliability.process import run_to_rest
from tests.reliability.scenarios import Scenario, every_kind, mixed_batches
from tests.reliability.seeds import SEEDS, USUAL_SEEDS
from tests.reliability.serial import Order, explain
from tests.reliability.wire import CRASHES, Fault, Wire, applicable, at
from tests.reliability.world import InProcessWorld

KINDS = list(every_kind())
BATCHES = list(mixed_batches())
SHORT = ("RegisterUser accepted", "EraseUser accepted", "ten users", "two FIFO groups")
TWICE = SHORT if SEEDS <= USUAL_SEEDS else tuple(each.name for each in KINDS + BATCHES)
"""Scenarios in which every pair of crashes is tried."""


@cache
def after_history(name: str) -> tuple[InProcessWorld, Model]:
    """Carry out a scenario's history in peace; once, for all of its runs."""
    (scenario,) = (each for each in KINDS + BATCHES if each.name == name)
    world, model = InProcessWorld(fifo=scenario.fifo), Model()
    for message in scenario.history:
        world.send(message)
        run_to_rest(world, Wire())
        assert message.command is not None
        code, _ = model.decide(message.user_id, message.command, world.clock.time)
        assert code is None, f"{message.command} is no history"
    return world, model


def run(scenario: Scenario, faults: Mapping[int, Fault]) -> Wire:
    """Run a scenario with faults at calls of these numbers, and check what it comes to."""
    start, model = after_history(scenario.name)
    world = start.copy()
    wire = Wire(at(faults))
    world.send(*scenario.messages)
    try:
        run_to_rest(world, wire)
        explain(scenario.messages, check(world), _order(scenario, faults), model.copy())
    except AssertionError as error:
        error.add_note(f"run({scenario.name!r}, {dict(faults)}):\n{wire}")
        raise
    return wire


def _order(scenario: Scenario, faults: Mapping[int, Fault]) -> Order:
    """Say what order has to be kept: after a crash a batch comes back whole."""
    if scenario.fifo:
        return Order.AS_SENT_BY_GROUP
    crashes_only = all(fault in CRASHES for fault in faults.values())
    return Order.AS_SENT if crashes_only else Order.ANY


def single_faults(wire: Wire, start: int = 0) -> Iterable[tuple[int, Fault]]:
    """Give each fault of each call, from a number on."""
    for number, (operation, _) in list(enumerate(wire.calls))[start:]:
        for fault in Fault:
            if fault in applicable(operation):
                yield number, fault


def crashes(wire: Wire, start: int = 0) -> Iterable[int]:
    """Give each call, from a number on, to crash before: that is also after the one before it."""
    return range(start, len(wire.calls))


@pytest.mark.parametrize("scenario", KINDS, ids=str)
def test_a_fault_at_any_call_of_any_command_loses_and_doubles_nothing(scenario: Scenario) -> None:
    """One command: each of its calls, and each thing that can become of it."""
    for number, fault in single_faults(run(scenario, {})):
        run(scenario, {number: fault})


@pytest.mark.timeout(180)
@pytest.mark.parametrize("scenario", BATCHES, ids=str)
def test_a_fault_at_any_call_of_a_batch_loses_and_doubles_nothing(scenario: Scenario) -> None:
    """Commands that have to do with each other, in one batch."""
    for number, fault in single_faults(run(scenario, {})):
        run(scenario, {number: fault})


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", TWICE)
def test_a_second_crash_at_any_later_call_loses_and_doubles_nothing(name: str) -> None:
    """Two crashes: the second in the worker that came after, or in its relay."""
    (scenario,) = (each for each in KINDS + BATCHES if each.name == name)
    for number in crashes(run(scenario, {})):
        crashed = {number: Fault.CRASH_BEFORE}
        for later in crashes(run(scenario, crashed), number + 1):
            run(scenario, {**crashed, later: Fault.CRASH_BEFORE})
