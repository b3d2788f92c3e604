"""A crash at every step: nothing is lost and nothing is done twice.

The parts, from the bottom up:

- `in_process_dynamodb.py`, `in_process_sqs.py`, `in_process_sns.py`: AWS in this process.
- `wire.py`: carries every call. It numbers the calls, and at given numbers it loses the call, its
  answer or the whole process.
- `process.py`: a worker, made of the real batch handler, adapters, acknowledger and relay; and
  `run_to_rest`, which starts another worker after each crash until nothing is left to do.
- `invariants.py`: what must hold then, whatever happened.
- `model.py`, `serial.py`: the rules in their simplest form, and a check that the result is what
  these rules give for the commands one by one.
- `scenarios.py`: every kind of command, and batches of related commands.

Each scenario is run without faults first, to count its calls, and then once for each call and each
applicable fault. To see one run, call `run` with the scenario and the faults that a failure names,
and print the wire.
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
THOROUGH = SEEDS > USUAL_SEEDS
SHORT = ("RegisterUser accepted", "EraseUser accepted", "ten users", "two FIFO groups")
TWICE = tuple(each.name for each in KINDS + BATCHES) if THOROUGH else SHORT
"""Scenarios in which every pair of crashes is tried."""


@cache
def after_history(name: str) -> tuple[InProcessWorld, Model]:
    """Apply a scenario's history without faults; once, for all of its runs."""
    (scenario,) = (each for each in KINDS + BATCHES if each.name == name)
    world, model = InProcessWorld(fifo=scenario.fifo), Model()
    for message in scenario.history:
        world.send(message)
        run_to_rest(world, Wire())
        assert message.command is not None
        code, _ = model.decide(message.user_id, message.command, world.clock.time, message.time)
        assert code is None, f"{message.command} is no history"
    return world, model


def run(scenario: Scenario, faults: Mapping[int, Fault], *, states: bool = False) -> Wire:
    """Run a scenario with faults at calls of these numbers, and check the result.

    With `states`, the wire records what a process would find that starts before a call.
    """
    start, model = after_history(scenario.name)
    world = start.copy()
    wire = Wire(at(faults), state=world.state if states else None)
    world.send(*scenario.messages)
    try:
        run_to_rest(world, wire)
        explain(scenario.messages, check(world), _order(scenario, faults), model.copy())
    except AssertionError as error:
        error.add_note(f"run({scenario.name!r}, {dict(faults)}):\n{wire}")
        raise
    return wire


def _order(scenario: Scenario, faults: Mapping[int, Fault]) -> Order:
    """Return the order that is guaranteed: after a crash a batch is retried whole."""
    if scenario.fifo:
        return Order.AS_SENT_BY_GROUP
    crashes_only = all(fault in CRASHES for fault in faults.values())
    return Order.AS_SENT if crashes_only else Order.ANY


def single_faults(wire: Wire, start: int = 0) -> Iterable[tuple[int, Fault]]:
    """Yield each applicable fault of each call, from a call number on."""
    for number, (operation, _) in list(enumerate(wire.calls))[start:]:
        for fault in Fault:
            if fault in applicable(operation):
                yield number, fault


def crashes(wire: Wire, start: int = 0) -> Iterable[int]:
    """Yield each call to crash before, from a number on; that is also after the previous call.

    Calls of which the one before changed nothing are left out, unless the run is a thorough one:
    the next process finds the same AWS at the same time as after a crash one call earlier.
    """
    for number in range(start, len(wire.calls)):
        if THOROUGH or number == start or wire.found[number] != wire.found[number - 1]:
            yield number


@pytest.mark.parametrize("scenario", KINDS, ids=str)
def test_a_fault_at_any_call_of_any_command_loses_and_doubles_nothing(scenario: Scenario) -> None:
    """For one command, each fault of each of its calls."""
    for number, fault in single_faults(run(scenario, {})):
        run(scenario, {number: fault})


@pytest.mark.timeout(180)
@pytest.mark.parametrize("scenario", BATCHES, ids=str)
def test_a_fault_at_any_call_of_a_batch_loses_and_doubles_nothing(scenario: Scenario) -> None:
    """For related commands in one batch, each fault of each call."""
    for number, fault in single_faults(run(scenario, {})):
        run(scenario, {number: fault})


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", TWICE)
def test_a_second_crash_at_any_later_call_loses_and_doubles_nothing(name: str) -> None:
    """The second crash is in the worker that was started after the first, or in its relay."""
    (scenario,) = (each for each in KINDS + BATCHES if each.name == name)
    for number in crashes(run(scenario, {}, states=True)):
        crashed = {number: Fault.CRASH_BEFORE}
        for later in crashes(run(scenario, crashed, states=True), number + 1):
            run(scenario, {**crashed, later: Fault.CRASH_BEFORE})
