"""The benchmark's reports agree with its measurements."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from benchmarks import plot, summary
from benchmarks.measuring import Idle, Result
from benchmarks.sections import Section
from benchmarks.targets import CELERY, FLOOR, WORKER, Target, targets_of
from benchmarks.workload import REGISTERING, UPDATING

ABOUT = {"command": "c", "date": "d", "minutes": 1, "commit": "e", "python": "3", "cores": 2}
RATES = {WORKER: 500.0, CELERY: 50.0, FLOOR: 1000.0}


def result_of(
    contestant: str, workload: str = REGISTERING, number: int = 1, rate: float = 100
) -> Result:
    """Return a result with plausible figures."""
    return Result(
        contestant=contestant,
        title=f"<{contestant}>",
        round=number,
        workload=workload,
        commands=100,
        seconds=100 / rate,
        per_second=rate,
        cpu_ms=1000 / rate,
        servers_cpu_ms=0.1,
        busy=0.5,
        others=0.0,
        calls=0.6,
        operations={},
        batch=10.0,
        write_units=6.3 if workload == REGISTERING else 4.3,
        memory_mb=100.0,
        start_seconds=1.0,
        start_cpu_seconds=0.5,
        latencies_ms=[10.0, 20.0, 30.0],
    )


@pytest.fixture
def sections() -> list[Section]:
    """A run of three contestants, the middle of three rounds being the one given in `RATES`."""
    results = [
        result_of(contestant, workload, number, rate * factor)
        for contestant, rate in RATES.items()
        for workload in (REGISTERING, UPDATING)
        for number, factor in enumerate((1, 0.5, 3), 1)
    ]
    idle = Idle(WORKER, "ours", 60.0, 3, receives=6.0, cpu_percent=0.2, memory_mb=150.0)
    return [
        Section("side-by-side", "Side by side", "a table", results),
        Section("idle", "Idle", "a table", [], [idle]),
    ]


def test_the_targets_compare_medians_and_show_whether_they_are_met(sections: list[Section]) -> None:
    """A missed one is shown as missed, not left out."""
    found = {target.name: target for target in targets_of({s.key: s for s in sections})}
    celery = found["on DynamoDB Local: throughput, of plain Celery's"]
    assert (celery.here, celery.met) == (10.0, True)
    floor = found["on DynamoDB Local: throughput, of the floor's"]
    assert (floor.here, floor.met) == (0.5, False)
    assert found["on DynamoDB Local: CPU a command, of plain Celery's"].here == pytest.approx(0.1)
    idle = found["idle: ReceiveMessage calls in 20 s a process"]
    assert (idle.here, idle.met) == (2.0, False)


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (Target("t", 9.99, least=10), False),
        (Target("t", 10, least=10), True),
        (Target("t", 6.304, most=6.3), True),
        (Target("t", 6.31, most=6.3), False),
        (Target("t", 0.167, most=1 / 6), True),
        (Target("t", 0.1684, most=1 / 6), False),
        (Target("t", 0.846, least=0.85), False),
    ],
)
def test_a_target_is_met_as_it_is_printed(target: Target, met: bool) -> None:
    """To three digits that count, whatever its size."""
    assert target.met is met


def test_the_summary_gives_each_figure_beside_plain_celerys(sections: list[Section]) -> None:
    """The row of plain Celery is the unit."""
    lines = summary.render({**ABOUT, "processor": "p"}, sections).splitlines()
    [ours] = [line for line in lines if line.startswith(f"| <{WORKER}>")]
    assert ours.startswith(f"| <{WORKER}> | 500 (10x) | 2.00 (0.1x) | 0.60 | 6.3 | 20 / 30 |")
    [theirs] = [line for line in lines if line.startswith(f"| <{CELERY}>")]
    assert "| 50 (1x) | 20.00 (1x) |" in theirs


def test_the_picture_is_xml_with_a_bar_a_figure(sections: list[Section]) -> None:
    """Titles are escaped, and it can be read on a dark page too."""
    text = plot.render(sections)
    bars = ET.fromstring(text).findall(".//{*}rect[@height='14']")
    assert len(bars) == 2 * len(RATES)
    assert "prefers-color-scheme: dark" in text


def test_idle_time_is_compared_with_plain_celerys(sections: list[Section]) -> None:
    """By the workers with two processes each."""
    theirs = Idle(CELERY, "theirs", 60.0, 3, receives=6.0, cpu_percent=0.1, memory_mb=150.0)
    sections[1].idle.append(theirs)
    found = {target.name: target for target in targets_of({s.key: s for s in sections})}
    ratio = found["idle: CPU, of plain Celery's"]
    assert ratio.here == pytest.approx(2)
    assert not ratio.met
