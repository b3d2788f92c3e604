"""A session of one contestant: start, warm-up, workloads, measurement, stop."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from botocore.exceptions import ClientError

from benchmarks.arguments import BenchmarkError
from benchmarks.endpoints import Endpoints
from benchmarks.lineup import PREPARED, Contestant
from benchmarks.prepared import Recorder, units_a_command
from benchmarks.processes import ProcessGroup, machine_cpu_seconds
from benchmarks.raw_requests import raw_batches
from benchmarks.tables import (
    REGION,
    direct_client,
    make_naive_table,
    naive_units,
    provision_resources,
)
from benchmarks.workload import CelerySender, Command, Workload, as_cloud_event

TOPIC = "arn:aws:sns:us-east-1:000000000000:user-events"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark"}
CORES = os.cpu_count() or 1
POLL_SECONDS = 0.02
READY_SECONDS = 40.0
RUN_SECONDS = 90.0
LAST_LINES = 10
LIGHT_INTERVAL = 0.05
"""Seconds between two commands at light load."""


def no_event(missing: int, commands: int) -> str:
    """Return the error text for a contestant that left commands without an event."""
    return f"published no event for {missing} of {commands} commands"


@dataclass(frozen=True, slots=True)
class Plan:
    """The work for a contestant in one session."""

    warm_up: tuple[Command, ...]
    workloads: tuple[Workload, ...]
    light: tuple[Command, ...] = ()

    @property
    def all(self) -> list[Command]:
        """Return every command, in sending order."""
        workloads = [command for workload in self.workloads for command in workload.commands]
        return [*self.warm_up, *workloads, *self.light]


@dataclass(slots=True)
class Result:
    """Result of one contestant with one workload in one round."""

    contestant: str
    title: str
    round: int
    workload: str
    commands: int
    seconds: float
    per_second: float
    cpu_ms: float
    """Processor time per command: user and system, of all its processes."""
    servers_cpu_ms: float
    """The same for the emulators."""
    busy: float
    """Share of all cores' time that both used."""
    others: float
    """Share that everything else on the machine used, including the benchmark's driver."""
    calls: float
    """AWS calls per command, without empty receives."""
    operations: dict[str, int]
    batch: float
    """Messages per receive."""
    write_units: float
    memory_mb: float
    start_seconds: float
    start_cpu_seconds: float
    missing_events: int = 0
    """Commands without a published event."""
    latencies_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Idle:
    """What one contestant did while idle."""

    contestant: str
    title: str
    seconds: float
    processes: int
    receives: float
    """ReceiveMessage calls in 20 s, of all its processes."""
    cpu_percent: float
    """Of one core."""
    memory_mb: float


class Session:
    """A contestant from start to stop. Use as a context manager."""

    def __init__(
        self,
        endpoints: Endpoints,
        contestant: Contestant,
        plan: Plan,
        folder: Path,
        table: str | None = None,
    ) -> None:
        """Take the endpoints and the plan; `table` names an existing table of this worker."""
        self._endpoints = endpoints
        self._contestant = contestant
        self._plan = plan
        self._folder = folder
        mark = uuid4().hex[:8]
        self._users_table = table or f"users-{mark}"
        self._naive_table = f"naive-{mark}" if contestant.table == "naive" else None
        self._own_tables = [] if table else [self._users_table]
        self._queue, self._dead_letter_queue = f"commands-{mark}", f"commands-{mark}-dlq"
        self._quarantine_queue = f"commands-{mark}-quarantine"
        self._render: Callable[[Command], str] = as_cloud_event
        if contestant.messages == "celery":
            self._render = CelerySender(self._queue)
        self._processes: ProcessGroup | None = None
        self._start_seconds = self._start_cpu = 0.0

    def __enter__(self) -> Self:
        """Create the resources, start the contestant, wait until it receives, and warm it up."""
        try:
            self._provision()
            self._prepare()
            self._start()
            self._work(self._plan.warm_up)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it and delete its tables."""
        if self._processes is not None:
            self._processes.stop()
        for table in self._own_tables:
            with contextlib.suppress(ClientError):  # the table was not created
                direct_client(self._endpoints).delete_table(TableName=table)

    def measure(
        self, workload: Workload, number: int, offsets: Sequence[float] | None = None
    ) -> Result:
        """Run a workload and return the result.

        All commands are in the queue at once or, with `offsets`, arrive after so many seconds each;
        then the result has the latency of each.
        """
        assert self._processes is not None
        bodies = [self._render(command) for command in workload.commands]
        # where commands are few, ticks of 10 ms are too coarse
        used = self._processes.cpu_seconds if offsets is None else self._processes.run_seconds
        cpu, servers = used(), self._endpoints.cpu_seconds()
        machine = machine_cpu_seconds()
        wanted = {command.command_id for command in workload.commands}
        record, began = self._load_and_wait(bodies, wanted, workload.commands, offsets)
        cpu = used() - cpu
        servers = self._endpoints.cpu_seconds() - servers
        machine = machine_cpu_seconds() - machine
        count = len(workload.commands)
        seconds = max(record["last_deleted"], record["last_published"]) - began
        calls: dict[str, int] = record["calls"]
        receives = calls.get("SQS ReceiveMessage", 0)
        served = max(1, receives - record["empty_receives"])
        made = sum(calls.values()) - receives + served
        return Result(
            contestant=self._contestant.key,
            title=self._contestant.title,
            round=number,
            workload=workload.name,
            commands=count,
            seconds=seconds,
            per_second=count / seconds,
            cpu_ms=cpu * 1000 / count,
            servers_cpu_ms=servers * 1000 / count,
            busy=(cpu + servers) / seconds / CORES,
            others=max(0.0, machine - cpu - servers) / seconds / CORES,
            calls=made / count,
            operations=calls,
            batch=count / served,
            write_units=self._write_units(workload, calls),
            memory_mb=self._processes.memory_mb(),
            start_seconds=self._start_seconds,
            start_cpu_seconds=self._start_cpu,
            missing_events=len(wanted - record["published"].keys()),
            latencies_ms=[
                (record["published"][command_id] - at) * 1000
                for command_id, at in record["arrived_at"].items()
                if command_id in record["published"]
            ],
        )

    def run_seconds(self) -> float:
        """Return the processor time of all its threads so far, exactly."""
        assert self._processes is not None
        return self._processes.run_seconds()

    def idle_since(self, run_seconds: float, seconds: float) -> Idle:
        """Return its idle result since the last reset, when it had used `run_seconds`."""
        assert self._processes is not None
        receives: dict[str, int] = self._endpoints.tell("record")["receives"]
        return Idle(
            contestant=self._contestant.key,
            title=self._contestant.title,
            seconds=seconds,
            processes=self._processes.count(),
            receives=receives.get(self._queue, 0) * 20 / seconds,
            cpu_percent=100 * (self._processes.run_seconds() - run_seconds) / seconds,
            memory_mb=self._processes.memory_mb(),
        )

    def latencies_ms(self, commands: Sequence[Command]) -> list[float]:
        """Send commands one by one; return the time of each from sending to published event.

        Raises:
            BenchmarkError: A command has no event.
        """
        self._endpoints.reset()
        sent: dict[str, float] = {}
        for command in commands:
            answer = self._load([self._render(command)])
            sent[command.command_id] = answer["sent_at"]
            time.sleep(LIGHT_INTERVAL)
        self._wait(len(commands), len(commands))
        published = self._endpoints.tell("record")["published"]
        if missing := len(sent.keys() - published.keys()):
            raise self._failed(no_event(missing, len(sent)))
        return [(published[command_id] - at) * 1000 for command_id, at in sent.items()]

    # --- before ------------------------------------------------------------------------------

    def _provision(self) -> None:
        provision_resources(
            self._endpoints.url,
            self._endpoints.direct_url,
            table=self._users_table,
            queue=self._queue,
            dead_letters=self._dead_letter_queue,
            quarantine=self._quarantine_queue,
        )
        if self._naive_table:
            self._own_tables.append(self._naive_table)
            make_naive_table(direct_client(self._endpoints), self._naive_table)

    def _prepare(self) -> None:
        """Record what this worker sends, for contestants that replay it."""
        if self._contestant.preparation is None:
            return
        prepared: Any = Recorder(self._users_table, TOPIC).record(self._plan.all)
        if self._contestant.preparation == "bytes":
            commands = list(prepared.values())
            prepared = list(raw_batches(commands, self._users_table, TOPIC, self._endpoints.url))
        self._file.write_text(json.dumps(prepared))

    @property
    def _file(self) -> Path:
        return self._folder / f"{self._queue}.json"

    def _start(self) -> None:
        began = time.monotonic()
        commands = [
            [part.replace(PREPARED, str(self._file)) for part in command]
            for command in self._contestant.commands
        ]
        log = self._folder / f"{self._contestant.key}.log"
        self._processes = ProcessGroup(commands, self._environment(), log)
        deadline = began + READY_SECONDS
        while self._progress()["polls"] < self._contestant.receivers:
            if not self._processes.alive() or time.monotonic() > deadline:
                raise self._failed("did not start")
            time.sleep(POLL_SECONDS)
        self._start_seconds = time.monotonic() - began
        self._start_cpu = self._processes.cpu_seconds()

    def _environment(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "USER_WORKER_"))
        }
        return inherited | {
            **REGION,
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": self._endpoints.url,
            "AWS_ENDPOINT_URL_DYNAMODB": self._endpoints.dynamodb_url,
            "USER_WORKER_ENV": "prod",
            "USER_WORKER_HASH_KEYS": "a key of the benchmark; it is long enough",
            "USER_WORKER_PERMISSIONS": str(Path(__file__).with_name("permissions.toml")),
            "USER_WORKER_TABLE": self._users_table,
            "USER_WORKER_COMMAND_QUEUE": self._queue,
            "USER_WORKER_DEAD_LETTER_QUEUE": self._dead_letter_queue,
            "USER_WORKER_QUARANTINE_QUEUE": self._quarantine_queue,
            "BENCH_QUEUE": self._queue,
            "BENCH_QUEUE_URL": f"{self._endpoints.url}/000000000000/{self._queue}",
            "BENCH_TABLE": self._naive_table or self._users_table,
            "BENCH_TOPIC": TOPIC,
            "BENCH_TUNED": str(int(self._contestant.tuned)),
            **dict(self._contestant.environment),
        }

    # --- at work -----------------------------------------------------------------------------

    def _work(self, commands: Sequence[Command]) -> None:
        wanted = {command.command_id for command in commands}
        record, _ = self._load_and_wait([self._render(command) for command in commands], wanted)
        if missing := len(wanted - record["published"].keys()):
            raise self._failed(no_event(missing, len(wanted)))

    def _load_and_wait(
        self,
        bodies: list[str],
        wanted: AbstractSet[str],
        commands: Sequence[Command] = (),
        offsets: Sequence[float] | None = None,
    ) -> tuple[dict[str, Any], float]:
        self._endpoints.reset()
        if offsets is None:
            answer = self._load(bodies)
        else:
            ids = [command.command_id for command in commands]
            arrivals = [*zip(offsets, ids, bodies, strict=True)]
            answer = self._endpoints.tell("schedule", queue=self._queue, arrivals=arrivals)
        began: float = answer["sent_at"]
        self._wait(len(bodies), len(wanted))
        return self._endpoints.tell("record"), began

    def _load(self, bodies: list[str]) -> dict[str, Any]:
        return self._endpoints.tell("load", queue=self._queue, bodies=bodies)

    def _progress(self) -> dict[str, Any]:
        return self._endpoints.tell("progress", queue=self._queue)

    def _wait(self, deleted: int, published: int) -> None:
        """Wait for this number of deletions and events; events may be missing at the end.

        Raises:
            BenchmarkError: Messages are left, or the contestant ended.
        """
        assert self._processes is not None
        deadline = time.monotonic() + RUN_SECONDS
        while True:
            progress = self._progress()
            if progress["deleted"] >= deleted and progress["published"] >= published:
                return
            late = time.monotonic() > deadline
            if late and progress["deleted"] >= deleted:
                return
            if late or not self._processes.alive():
                done = f"{progress['deleted']} of {deleted} messages deleted"
                raise self._failed(f"did not finish: {done}, {progress['published']} published")
            time.sleep(POLL_SECONDS)

    def _failed(self, what: str) -> BenchmarkError:
        log = self._folder / f"{self._contestant.key}.log"
        lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        return BenchmarkError(f"{self._contestant.title}: {what}", lines)

    def _write_units(self, workload: Workload, calls: dict[str, int]) -> float:
        if self._contestant.table == "naive":
            return naive_units(workload)
        transactions = max(1, calls.get("DynamoDB TransactWriteItems", 0))
        return units_a_command(workload.name, len(workload.commands) / transactions)
