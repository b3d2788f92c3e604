"""The targets beside the measured figures, whether they are met or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median

from benchmarks.rows import Row, markdown, rows_of
from benchmarks.sections import Section
from benchmarks.workload import REGISTERING, UPDATING

WORKER, CELERY, FLOOR = "worker-prefork-2", "celery-2", "floor-2"
WORKER_4 = "worker-prefork-4"


@dataclass(frozen=True, slots=True)
class Target:
    """One figure and its bound."""

    name: str
    here: float
    least: float | None = None
    most: float | None = None

    @property
    def met(self) -> bool:
        """Return True if the printed figure is within the bound."""
        here = float(printed(self.here))
        if self.least is not None:
            return here >= float(printed(self.least))
        return self.most is None or here <= float(printed(self.most))

    @property
    def bound(self) -> str:
        """Return the bound in words."""
        return f"at least {self.least:g}" if self.least is not None else f"at most {self.most:.3g}"


def printed(figure: float) -> str:
    """Render a figure with three significant digits."""
    return f"{figure:#.3g}"


def render(found: Mapping[str, Section]) -> str:
    """Render the targets as a Markdown table."""
    rows = (
        (target.name, target.bound, printed(target.here), "met" if target.met else "missed")
        for target in targets_of(found)
    )
    return markdown(("", "target", "here", ""), rows)


def targets_of(found: Mapping[str, Section]) -> Iterator[Target]:
    """Yield the targets for which the sections have figures."""
    yield from _side_by_side(found["side-by-side"])
    if section := found.get("without-emulator"):
        rows = rows_of(section, REGISTERING)
        yield from _against(rows, "without an emulator", WORKER, CELERY, FLOOR)
    if section := found.get("aws-latency"):
        yield from _at_aws_latency(rows_of(section, REGISTERING))
    if section := found.get("idle"):
        ours = [idle for idle in section.idle if idle.contestant.startswith("worker")]
        calls = max(idle.receives / idle.processes for idle in ours)
        yield Target("idle: ReceiveMessage calls in 20 s a process", calls, most=1)
        yield Target("idle: CPU % of a core", max(idle.cpu_percent for idle in ours), most=1)
        by_key = {idle.contestant: idle.cpu_percent for idle in section.idle}
        if WORKER in by_key and by_key.get(CELERY):
            ratio = by_key[WORKER] / by_key[CELERY]
            yield Target("idle: CPU, of plain Celery's", ratio, most=1)
    if (section := found.get("users")) and len(rows_of(section, UPDATING)) > 1:
        few, *_, many = rows_of(section, UPDATING).values()
        name = "CPU an update, most users of fewest (1, and some for the spread)"
        yield Target(name, _ratio(many, few, "cpu_ms"), most=1.1)


def _side_by_side(section: Section) -> Iterator[Target]:
    registering, updating = rows_of(section, REGISTERING), rows_of(section, UPDATING)
    worker, floor = registering[WORKER], registering[FLOOR]
    yield from _against(registering, "on DynamoDB Local", WORKER, CELERY, FLOOR)
    yield Target("AWS calls a command", worker.median("calls"), most=0.65)
    yield Target("write units a registration", worker.median("write_units"), most=6.3)
    yield Target("write units an update", updating[WORKER].median("write_units"), most=4.3)
    light = median(worker.latencies_ms) / median(floor.latencies_ms)
    yield Target("p50 at light load, of the floor's", light, most=3)


def _against(
    rows: Mapping[str, Row], where: str, worker: str, celery: str, floor: str
) -> Iterator[Target]:
    ours, theirs, bare = rows[worker], rows[celery], rows[floor]
    rate = "per_second"
    yield Target(f"{where}: throughput, of plain Celery's", _ratio(ours, theirs, rate), least=10)
    yield Target(f"{where}: throughput, of the floor's", _ratio(ours, bare, rate), least=0.85)
    cpu = _ratio(ours, theirs, "cpu_ms")
    yield Target(f"{where}: CPU a command, of plain Celery's", cpu, most=1 / 6)


def _at_aws_latency(rows: Mapping[str, Row]) -> Iterator[Target]:
    where = "at AWS's latency"
    yield from _against(rows, where, WORKER, CELERY, FLOOR)
    rate = "per_second"
    if WORKER_4 in rows:
        same = _ratio(rows[WORKER_4], rows[FLOOR], rate)
        yield Target(f"{where}: the same with as many batches at a time (4)", same, least=0.85)
    ours = max(row.median(rate) for key, row in rows.items() if key.startswith("worker"))
    theirs = max(row.median(rate) for key, row in rows.items() if key.startswith("celery"))
    yield Target(f"{where}: throughput, our best of plain Celery's best", ours / theirs, least=10)
    two = _ratio(rows[WORKER], rows["worker-prefork-1"], rate)
    yield Target(f"{where}: throughput, two processes of one", two, least=1.8)


def _ratio(row: Row, other: Row, figure: str) -> float:
    return row.median(figure) / other.median(figure)
