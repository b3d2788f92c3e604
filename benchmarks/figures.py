"""The figures that pages quote in sentences, by name; `benchmarks/pages.py` writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

from application.outbox import SHARDS
from benchmarks.arguments import BenchmarkError
from benchmarks.results_file import read_results
from benchmarks.rows import Row, rows_of
from benchmarks.scale import autoscaling, batches, cost, growth, outbox
from benchmarks.scale.inputs import Inputs
from benchmarks.scale.measured import (
    LOGIN,
    REGISTRATION,
    ROTATION,
    UPDATE,
    footprint,
    index_entry_bytes,
    stored_bytes,
)
from benchmarks.sections import Section
from benchmarks.targets import CELERY, FLOOR, WORKER
from benchmarks.workload import REGISTERING, UPDATING

SIDE, EMPTY, LATENCY, USERS = "side-by-side", "without-emulator", "aws-latency", "users"
THREADS, LOOP, NODE, CEILING = "worker-threads-8", "loop-2", "node-2", "ceiling"
IN_FLIGHT: Final = 120_000
"""Maximum number of messages that an SQS queue has in flight."""
TABLE_UNITS: Final = 40_000
NEW_TABLE_UNITS: Final = 4_000
"""Write units per second that DynamoDB grants a new table on demand."""
PROVISIONED_PRICE: Final = 0.00065
"""Dollars for a provisioned write unit per hour (us-east-1)."""


def figures() -> dict[str, str]:
    """Return every figure as it is printed.

    Raises:
        BenchmarkError: The committed run lacks the source of a figure.
    """
    return {name: compute() for name, compute in _FIGURES.items()}


def _whole(value: float) -> str:
    return f"{value:,.0f}"


# --- of the benchmark's committed run --------------------------------------------------------


@cache
def _sections() -> dict[str, Section]:
    _, sections = read_results()
    return {section.key: section for section in sections}


def _row(section: str, contestant: str, workload: str = REGISTERING) -> Row:
    found = _sections().get(section)
    rows = rows_of(found, workload) if found else {}
    if contestant not in rows:
        raise BenchmarkError(
            f"the run in benchmarks/results has no {workload} of {contestant} in {section}: "
            "run `make bench ARGS=--million` with Java, DynamoDB Local, Node and npm"
        )
    return rows[contestant]


def _cpu(section: str, contestant: str, workload: str = REGISTERING) -> float:
    return _row(section, contestant, workload).median("cpu_ms")


def _rate(section: str, contestant: str) -> float:
    return _row(section, contestant).median("per_second")


def _servers(contestant: str) -> float:
    return _row(SIDE, contestant).median("servers_cpu_ms")


def _all_cpu(contestant: str) -> float:
    """Return the processor time of a command, including the emulators'."""
    return _cpu(SIDE, contestant) + _servers(contestant)


def _ms(section: str, contestant: str, workload: str = REGISTERING) -> Callable[[], str]:
    return lambda: f"{_cpu(section, contestant, workload):.2f}"


def _by_users() -> str:
    """Return the processor time of an update by the number of users in the table."""
    found = _sections().get(USERS)
    rows = rows_of(found, UPDATING) if found else {}
    if not rows:
        raise BenchmarkError("the run in benchmarks/results has no tables of users: was it quick?")
    return _listed(
        [f"{row.median('cpu_ms'):.2f} ms at {row.results[0].title}" for row in rows.values()]
    )


def _listed(parts: Sequence[str]) -> str:
    *others, last = parts
    return f"{', '.join(others)} and {last}" if others else last


_RUN: Final[dict[str, Callable[[], str]]] = {
    "prefork-cpu": _ms(SIDE, WORKER),
    "prefork-servers-cpu": lambda: f"{_servers(WORKER):.2f}",
    "prefork-rate": lambda: _whole(_rate(SIDE, WORKER)),
    "threads-cpu": _ms(SIDE, THREADS),
    "threads-servers-cpu": lambda: f"{_servers(THREADS):.2f}",
    "threads-rate": lambda: _whole(_rate(SIDE, THREADS)),
    "ceiling-rate": lambda: _whole(_rate(SIDE, CEILING)),
    "celery-cpu": _ms(SIDE, CELERY),
    "celery-servers-cpu": lambda: f"{_servers(CELERY):.2f}",
    "celery-cpu-latency": _ms(LATENCY, CELERY),
    "celery-rate-latency": lambda: _whole(_rate(LATENCY, CELERY)),
    "celery-4-rate-latency": lambda: _whole(_rate(LATENCY, "celery-4")),
    "loop-cpu": _ms(SIDE, LOOP),
    "node-cpu": _ms(SIDE, NODE),
    "node-update-cpu": _ms(SIDE, NODE, UPDATING),
    "floor-calls": lambda: f"{_row(EMPTY, FLOOR).median('calls'):.2f}",
    "worker-calls": lambda: f"{_row(EMPTY, WORKER).median('calls'):.2f}",
    "prefork-at-best": lambda: f"{_all_cpu(CELERY) / _all_cpu(WORKER):.1f}",
    "threads-at-best": lambda: f"{_all_cpu(CELERY) / _all_cpu(THREADS):.1f}",
    "batching-factor": lambda: f"{_cpu(SIDE, LOOP) / _cpu(SIDE, WORKER):.1f}",
    "update-cpu-by-users": _by_users,
}


# --- of `python -m benchmarks.scale` ---------------------------------------------------------

_DEFAULTS: Final = Inputs.read()
_HABITS, _PRICES = _DEFAULTS.habits, _DEFAULTS.prices


def _units(kind: str, batch: int = 10) -> float:
    return footprint(kind, batch).write_units


def _size(users: int) -> growth.Size:
    return growth.size(users, _DEFAULTS)


def _first_task_minutes() -> float:
    return (autoscaling.respond(1_000_000).first_task or 0) / 60


def _drained_minutes(burst: int, most_tasks: int) -> str:
    """Return the minutes until a burst is processed."""
    drained = autoscaling.respond(burst, policy=autoscaling.Policy(most=most_tasks)).drained
    if drained is None:
        raise BenchmarkError(f"a burst of {burst} commands is never processed")
    return f"{drained / autoscaling.MINUTE:.1f}"


def _fifo_premium() -> float:
    """Return the additional dollars of a million registrations on FIFO queue and topics."""
    kilobytes = footprint(REGISTRATION, 10).event_bytes / 1000
    return 1.2 * 0.10 + 2 * (0.30 - 0.05) + kilobytes * 0.017


def _expiries_share() -> float:
    return _size(10**9).expiries / (_size(10**9).peak_writes / _HABITS.peak)


def _standby_share() -> float:
    large = _size(10**9)
    return (large.bill["writes"] + large.bill["storage"]) / large.month


def _provisioned(used: float) -> str:
    return f"{PROVISIONED_PRICE / 3600 * cost.MILLION / used:.2f}"


def _held_by_a_task() -> int:
    """Return the maximum number of messages of a task: in its children, and as many waiting."""
    return 2 * batches.CHILDREN * batches.BATCH_SIZE


_SCALE: Final[dict[str, Callable[[], str]]] = {
    "shards": lambda: str(SHARDS),
    "shards-full": lambda: _whole(outbox.capacity(SHARDS, 10)),
    "rotation-units": lambda: f"{_units(ROTATION)}",
    "rotations-quota": lambda: _whole(TABLE_UNITS / _units(ROTATION)),
    "registration-units": lambda: f"{_units(REGISTRATION)}",
    "registrations-first-day": lambda: _whole(NEW_TABLE_UNITS // _units(REGISTRATION)),
    "registration-pointer-units": lambda: f"{footprint(REGISTRATION, 10).pointer_units}",
    "least-message-bytes": lambda: _whole(footprint(UPDATE, 1).message_bytes),
    "most-message-bytes": lambda: _whole(footprint(ROTATION, 10).message_bytes),
    "alone-units": lambda: f"{_units(LOGIN, 1) - _units(LOGIN):.1f}",
    "batch-size": lambda: str(batches.BATCH_SIZE),
    "task-holds": lambda: str(_held_by_a_task()),
    "tasks-in-flight": lambda: str(IN_FLIGHT // _held_by_a_task()),
    "idle-month": lambda: f"{cost.idle_worker_month(_PRICES):.2f}",
    "task-rate": lambda: _whole(autoscaling.task_rate()),
    "cpu-ms": lambda: f"{cost.cpu_ms():.2f}",
    "first-task-minutes": lambda: f"{_first_task_minutes():.0f}",
    "burst-minutes": lambda: _drained_minutes(200_000, 10),
    "million-minutes": lambda: _drained_minutes(1_000_000, 10),
    "million-minutes-40": lambda: _drained_minutes(1_000_000, 40),
    "user-bytes": lambda: f"{stored_bytes()['user']:.0f}",
    "address-bytes": lambda: f"{stored_bytes()['email']:.0f}",
    "session-bytes": lambda: f"{stored_bytes()['session']:.0f}",
    "entry-bytes": lambda: str(index_entry_bytes()),
    "outcome-bytes": lambda: f"{stored_bytes()['command']:.0f}",
    "stored-sessions": lambda: str(_HABITS.sessions),
    "million-users-month": lambda: f"{_size(10**8).month / 100:.0f}",
    "expiries-share": lambda: f"{_expiries_share():.0%}",
    "standby-share": lambda: f"{_standby_share():.0%}",
    "registrations-month": lambda: str(_HABITS.registrations),
    "updates-month": lambda: str(_HABITS.updates),
    "logins-month": lambda: f"{_HABITS.logins:.0f}",
    "rotations-month": lambda: f"{_HABITS.rotations:.0f}",
    "write-price": lambda: str(_PRICES.write_units_million),
    "read-price": lambda: str(_PRICES.read_units_million),
    "storage-price": lambda: str(_PRICES.storage_gb_month),
    "recovery-price": lambda: f"{_PRICES.recovery_gb_month:.2f}",
    "sqs-price": lambda: f"{_PRICES.sqs_requests_million:.2f}",
    "sns-price": lambda: f"{_PRICES.sns_requests_million:.2f}",
    "provisioned-full": lambda: _provisioned(1),
    "provisioned-60": lambda: _provisioned(0.6),
    "fifo-premium": lambda: f"{_fifo_premium():.2f}",
    "migration-minutes-million": lambda: f"{_size(10**6).migration_hours * 60:.0f}",
    "migration-hours-100-million": lambda: f"{_size(10**8).migration_hours:.0f}",
    "migrating-hours-million": lambda: f"{_size(10**6).migrating_hours:.1f}",
    "migrating-hours-100-million": lambda: f"{_size(10**8).migrating_hours:.0f}",
    "migration-look-ms": lambda: str(growth.LOOK_MS),
    "migration-change-ms": lambda: str(growth.CHANGE_MS),
    "migration-skip-ms": lambda: str(growth.SKIP_MS),
}

_FIGURES: Final = _RUN | _SCALE
