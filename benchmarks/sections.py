"""The comparisons of one run: contestants, endpoints and rounds."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from adapters.dynamodb.provision import provision_table
from benchmarks import light_load, lineup
from benchmarks.arguments import BenchmarkError
from benchmarks.endpoints import Endpoints, endpoints
from benchmarks.lineup import Contestant
from benchmarks.measuring import Idle, Plan, Result, Session, no_event
from benchmarks.population import populate
from benchmarks.tables import direct_client
from benchmarks.workload import MIX, REGISTERING, UPDATING, Command, Workload, mix, register, update

AWS_DELAY = (0.005, 0.015)
"""Seconds: the approximate latency of SQS, SNS and DynamoDB within a region."""
LIGHT = "light load"


@dataclass(frozen=True, slots=True)
class Size:
    """The amount of work."""

    rounds: int
    seconds: float
    """Approximate seconds that a contestant works on a workload."""
    light: int
    """Commands at light load per round."""
    processes: tuple[int, ...]
    children: tuple[int, ...]
    threads: tuple[int, ...]
    """Numbers of each that this worker is measured with at AWS's latency."""
    users: tuple[int, ...]
    idle: tuple[float, float]
    """Seconds to settle, and seconds to observe."""
    rates: tuple[int, ...]
    """Commands per second at which they arrive one by one."""
    waits: tuple[int, ...]
    """Milliseconds for which a batch may wait there."""
    cell: float
    """Seconds for each rate and wait."""


QUICK = Size(
    rounds=1,
    seconds=0.6,
    light=15,
    processes=(1, 2),
    children=(1, 2),
    threads=(8,),
    users=(1_000,),
    idle=(2, 20),
    rates=(10, 100),
    waits=(0, 200),
    cell=3,
)
DEFAULT = Size(
    rounds=3,
    seconds=1.5,
    light=40,
    processes=(1, 2, 4),
    children=(1, 2, 4, 8),
    threads=(8, 16, 32),
    users=(1_000, 100_000),
    idle=(30, 60),
    rates=(1, 10, 50, 100, 500),
    waits=(0, 50, 200, 1_000),
    cell=12,
)
SHORT = replace(QUICK, rounds=3, seconds=1.5)
"""For CI: about a minute. More commands than QUICK, as ticks of processor time are 10 ms."""
FULL = replace(DEFAULT, users=(1_000, 100_000, 1_000_000))


@dataclass(frozen=True, slots=True)
class Section:
    """One comparison and its results."""

    key: str
    title: str
    dynamodb: str
    results: list[Result]
    idle: list[Idle] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)
    """Place and time of its own run, if it was measured separately."""


def run_short(size: Size, folder: Path) -> Section:
    """Compare this worker, plain Celery and the floor by registrations, without DynamoDB Local."""
    contestants = [lineup.worker_prefork(2), lineup.plain_celery(2), lineup.floor(2)]
    with endpoints(folder, empty_table=True) as aws:
        _say(f"on {aws.dynamodb}")
        results = _alternate(aws, contestants, size, folder, workloads=(REGISTERING,))
        return Section("short", "Short form", aws.dynamodb, results)


def run_all(size: Size, folder: Path, only: Collection[str] = ()) -> Iterator[Section]:
    """Run every comparison, or those with the keys in `only`.

    Raises:
        BenchmarkError: A contestant did not start, did not finish, or published no event for a
            command.
    """
    for section in _sections(size, folder, only):
        for result in section.results:
            if result.missing_events:
                missing = no_event(result.missing_events, result.commands)
                raise BenchmarkError(f"{result.title}: {missing}")
        yield section


def _sections(size: Size, folder: Path, only: Collection[str]) -> Iterator[Section]:
    slow = frozenset({"without-emulator", "users"}) if len(size.users) == 1 else frozenset[str]()
    for key, run in SECTIONS.items():
        if key in only or (not only and key not in slow):  # slow ones are not in a quick run
            yield run(size, folder)


def _side_by_side(size: Size, folder: Path) -> Section:
    """Compare all contestants on DynamoDB Local with all workloads."""
    contestants = [
        lineup.worker_prefork(2),
        lineup.worker_threads(),
        lineup.plain_celery(2),
        lineup.stock_celery(2),
        lineup.one_at_a_time(2),
        lineup.floor(2),
        lineup.node(2),
        lineup.ceiling(),
    ]
    with endpoints(folder) as aws:
        _say(f"side by side on {aws.dynamodb}")
        _warm_up(aws, folder)
        results = _alternate(aws, [c for c in contestants if c], size, folder)
        return Section("side-by-side", "Side by side", aws.dynamodb, results)


def _without_emulator(size: Size, folder: Path) -> Section:
    """Compare the most different contestants by registrations, with a DynamoDB without cost."""
    contestants = [
        lineup.worker_prefork(2),
        lineup.worker_threads(),
        lineup.plain_celery(2),
        lineup.floor(2),
    ]
    with endpoints(folder, empty_table=True) as aws:
        _say("with a DynamoDB that costs nothing")
        results = _alternate(aws, contestants, size, folder, workloads=(REGISTERING,))
        return Section("without-emulator", "No emulator in the way", aws.dynamodb, results)


def _at_aws_latency(size: Size, folder: Path) -> Section:
    """Compare pools and concurrencies, and 1, 2, 4 processes, at AWS's latency: registrations."""
    contestants = [
        *map(lineup.worker_prefork, size.children),
        *map(lineup.worker_threads, size.threads),
        lineup.worker_solo(),
        *map(lineup.plain_celery, size.processes),
        lineup.celery_threads(),
        *map(lineup.floor, size.processes),
    ]
    # There are many contestants, and most of them wait most of the time.
    fewer = replace(size, rounds=min(2, size.rounds), seconds=min(1.0, size.seconds))
    with endpoints(folder, empty_table=True, delay=AWS_DELAY) as aws:
        _say("with 5 to 15 ms a call")
        results = _alternate(aws, contestants, fewer, folder, workloads=(REGISTERING, LIGHT))
        return Section("aws-latency", "At AWS's latency", aws.dynamodb, results)


def _light_load(size: Size, folder: Path) -> Section:
    """Compare how long a batch may wait, by the rate at which commands arrive, at AWS's latency."""
    with endpoints(folder, empty_table=True, delay=AWS_DELAY) as aws:
        _say(f"light load, {size.cell:g} s or more for each rate and wait")
        results = []
        for result in light_load.measure(aws, size.rates, size.waits, size.cell, folder):
            results.append(result)
            _tell(result)
        return Section("light-load", "Light load", aws.dynamodb, results)


def _idle(size: Size, folder: Path) -> Section:
    """Measure idle contestants, all at the same time, because they do little."""
    contestants = [
        lineup.worker_prefork(2),
        lineup.worker_threads(),
        lineup.worker_solo(),
        lineup.plain_celery(2),
        lineup.stock_celery(2),
    ]
    rest, looked_at = size.idle
    with ExitStack() as stack:
        aws = stack.enter_context(endpoints(folder, empty_table=True))
        _say(f"idle for {looked_at:g} s, after {rest:g} s of rest")
        plan = Plan(tuple(register(20)), ())
        sessions = [stack.enter_context(Session(aws, c, plan, folder)) for c in contestants]
        time.sleep(rest)
        aws.reset()
        before = [session.run_seconds() for session in sessions]
        time.sleep(looked_at)
        idle = [
            session.idle_since(seconds, looked_at)
            for session, seconds in zip(sessions, before, strict=True)
        ]
        return Section("idle", "Idle", aws.dynamodb, [], idle)


def _users(size: Size, folder: Path) -> Section:
    """Compare this worker's cost on tables of different sizes."""
    results = []
    contestant = lineup.worker_prefork(2)
    with endpoints(folder) as aws:
        users = {count: _populated(aws, count) for count in size.users}
        _warm_up(aws, folder)
        for number in range(1, size.rounds + 1):
            for count, known in users.items():
                amount = int(contestant.pace * size.seconds)
                updated = random.sample(known, min(amount, len(known)))
                workloads = (
                    Workload(REGISTERING, tuple(register(amount))),
                    Workload(UPDATING, tuple(update(updated))),
                )
                plan = Plan(tuple(register(contestant.pace // 2)), workloads)
                label = f"{count:,} users"
                titled = replace(contestant, key=f"users-{count}", title=label)
                with Session(aws, titled, plan, folder, table=f"users-{count}") as session:
                    for workload in workloads:
                        results.append(session.measure(workload, number))
                        _tell(results[-1])
        return Section("users", "Users in the table", aws.dynamodb, results)


SECTIONS: Final[Mapping[str, Callable[[Size, Path], Section]]] = {
    "side-by-side": _side_by_side,
    "aws-latency": _at_aws_latency,
    "light-load": _light_load,
    "idle": _idle,
    "without-emulator": _without_emulator,
    "users": _users,
}


def _populated(aws: Endpoints, count: int) -> list[Command]:
    began = time.monotonic()
    provision_table(direct_client(aws), f"users-{count}")
    users = populate(aws.direct_url, f"users-{count}", count)
    _say(f"a table of {count:,} users (filled in {time.monotonic() - began:.0f} s)")
    return users


# --- rounds --------------------------------------------------------------------------------


def _alternate(
    aws: Endpoints,
    contestants: Sequence[Contestant],
    size: Size,
    folder: Path,
    workloads: tuple[str, ...] = (REGISTERING, UPDATING, MIX, LIGHT),
) -> list[Result]:
    """Run every workload of each contestant in turn, then all again: A B C, A B C."""
    results = []
    for number in range(1, size.rounds + 1):
        for contestant in contestants:
            for result in _take_turn(aws, contestant, size, folder, workloads, number=number):
                results.append(result)
                _tell(result)
    return results


def _take_turn(
    aws: Endpoints,
    contestant: Contestant,
    size: Size,
    folder: Path,
    names: tuple[str, ...],
    *,
    number: int,
) -> list[Result]:
    if contestant.preparation == "bytes":  # it cannot detect duplicates, and has no light load
        names = tuple(name for name in names if name in {REGISTERING, UPDATING})
    plan = _plan(contestant, size, names)
    results = []
    with Session(aws, contestant, plan, folder) as session:
        results += [session.measure(workload, number) for workload in plan.workloads]
        if plan.light:
            results[0].latencies_ms = session.latencies_ms(plan.light)
    return results


def _plan(contestant: Contestant, size: Size, names: tuple[str, ...]) -> Plan:
    count = max(20, int(contestant.pace * size.seconds) // 10 * 10)
    users = register(count)
    commands = {REGISTERING: users, UPDATING: update(users), MIX: mix(users, count)}
    workloads = [Workload(name, tuple(commands[name])) for name in names if name in commands]
    warm_up = register(max(20, contestant.pace // 20 * 10))
    light = register(size.light) if LIGHT in names else []
    return Plan(tuple(warm_up), tuple(workloads), tuple(light))


def _warm_up(aws: Endpoints, folder: Path) -> None:
    """Make some thousand calls, so that Java compiles the code that the contestants use."""
    with suppress(BenchmarkError):
        for contestant in (lineup.floor(2), lineup.node(2) or lineup.plain_celery(2)):
            plan = _plan(contestant, replace(QUICK, seconds=1.5), (REGISTERING, UPDATING))
            with Session(aws, contestant, plan, folder) as session:
                for workload in plan.workloads:
                    session.measure(workload, 0)


def _tell(result: Result) -> None:
    print(
        f"  round {result.round}  {result.title:66} {result.workload:13} "
        f"{result.per_second:7.0f}/s  {result.cpu_ms:6.2f} ms CPU  {result.calls:5.2f} calls",
        flush=True,
    )


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)
