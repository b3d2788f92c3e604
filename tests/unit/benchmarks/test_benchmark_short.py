"""The benchmark's short form fails when it should."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks import short
from benchmarks.arguments import BenchmarkError
from benchmarks.measuring import Idle
from benchmarks.results_file import read_results, write_results
from benchmarks.sections import FULL, QUICK, SECTIONS, Section, Size, run_all
from benchmarks.targets import CELERY, FLOOR, WORKER
from benchmarks.workload import REGISTERING

ROUNDS = 3
OURS, THEIRS = 1.0, 10.0
"""Milliseconds of processor time a command."""


def section(
    ours: Sequence[float] = (OURS,) * ROUNDS,
    theirs: float = THEIRS,
    missing: dict[str, int] | None = None,
    without: str = "",
) -> Section:
    """Return a short run, made of the committed one: what each costs, and misses in one round."""
    _, [side, *_] = read_results()
    results = []
    for result in side.results:
        if result.contestant not in {WORKER, CELERY, FLOOR} - {without}:
            continue
        if result.workload != REGISTERING:
            continue
        cpu = ours[result.round - 1] if result.contestant == WORKER else theirs
        missed = (missing or {}).get(result.contestant, 0) if result.round == ROUNDS else 0
        results.append(replace(result, cpu_ms=cpu, missing_events=missed))
    return Section("short", "Short form", "a table", results)


def run(found: Section, monkeypatch: pytest.MonkeyPatch, *options: str) -> object:
    """Run the program with a run of the benchmark that found this; return its exit status."""
    monkeypatch.setattr(bench, "run_short", lambda _size, _folder: found)
    monkeypatch.setattr(bench, "_prepare", lambda: None)  # no signals or environment of ours
    monkeypatch.setattr("sys.argv", ["bench", "--short", *options])
    try:
        bench.main()
    except SystemExit as ended:
        return ended.code
    return 0


def test_a_cheap_worker_that_answers_everything_passes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table has a row for each contestant, and the last line says what was found."""
    assert run(section(), monkeypatch) == 0
    *table, _, last = capsys.readouterr().out.strip().splitlines()
    assert sum(line.startswith("|") for line in table) == 2 + 3
    assert last.startswith("bench: 0.10 of plain Celery's CPU time a command (at most 0.25)")


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (section(ours=(2.6, 2.6, 2.6)), "0.26 of plain Celery's CPU time a command"),
        (section(ours=(0.1, 2.6, 9.0)), "0.26 of plain Celery's CPU time a command"),
        (section(ours=(float("nan"),) * 3), "nan of plain Celery's CPU time a command"),
        (section(theirs=0.0), "nan of plain Celery's CPU time a command"),
        (section(missing={WORKER: 1}), "published no event for 1 of "),
        (section(missing={CELERY: 2}), "published no event for 2 of "),
        (section(missing={FLOOR: 3}), "published no event for 3 of "),
        (section(without=WORKER), f"no result of {WORKER}"),
        (section(without=CELERY), f"no result of {CELERY}"),
    ],
)
def test_a_fault_fails_the_program_with_one_line(
    found: Section, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A string as exit status is written to standard error, and the exit code is 1."""
    status = run(found, monkeypatch)
    assert isinstance(status, str)
    assert says in status
    assert len(status.splitlines()) == 1


def test_all_faults_are_in_that_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost and the missing events."""
    status = str(run(section(ours=(9.0,) * ROUNDS, missing={WORKER: 1}), monkeypatch))
    assert "published no event for 1 of " in status
    assert "0.90 of plain Celery's CPU time a command, more than 0.25" in status


@pytest.mark.parametrize(("cpu", "good"), [(2.5, True), (2.51, False)])
def test_the_bound_is_a_quarter(cpu: float, good: bool) -> None:
    """A quarter itself is not above it."""
    assert (short.faults(section(ours=(cpu,) * ROUNDS)) == []) is good


def test_one_disturbed_round_does_not_fail_it() -> None:
    """Figures are medians over the rounds."""
    assert short.faults(section(ours=(OURS, 9.0, OURS))) == []


@pytest.mark.parametrize("options", [["--rounds", "0"], ["--rounds", "x"], ["--quick"], ["--no"]])
def test_bad_usage_is_one_line(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 2, as for other commands."""
    assert run(section(), monkeypatch, *options) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("bench: ")


def test_a_missing_event_fails_the_full_run_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """No section with one is written."""
    found = iter([section(missing={WORKER: 1})])
    monkeypatch.setattr("benchmarks.sections._sections", lambda _size, _folder, _only: found)
    size = Size(1, 0, 0, (), (), (), (), (0, 0), (), (), 0)
    with pytest.raises(BenchmarkError, match=r"this worker, .*: published no event for 1 of "):
        list(run_all(size, Path()))


@pytest.mark.parametrize(
    ("only", "quick", "keys"),
    [
        ((), True, ["side-by-side", "aws-latency", "light-load", "idle"]),
        ((), False, list(SECTIONS)),
        (("idle", "light-load"), True, ["light-load", "idle"]),
        (("users",), True, ["users"]),
    ],
)
def test_a_run_has_the_sections_that_were_asked_for(
    monkeypatch: pytest.MonkeyPatch, only: tuple[str, ...], quick: bool, keys: list[str]
) -> None:
    """All of them by default, without the slow ones in a quick run."""

    def pretend(key: str) -> Callable[[Size, Path], Section]:
        return lambda _size, _folder: Section(key, key, "a table", [])

    monkeypatch.setattr("benchmarks.sections.SECTIONS", {key: pretend(key) for key in SECTIONS})
    size = QUICK if quick else FULL
    assert [section.key for section in run_all(size, Path(), only)] == keys


def test_only_needs_earlier_results_to_replace_a_section_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One section alone has nothing to be compared with."""
    monkeypatch.setattr(bench, "_prepare", lambda: None)
    monkeypatch.setattr("sys.argv", ["bench", "--only", "idle", "--results", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"no results\.json in .*: run without --only first"):
        bench.main()
    capsys.readouterr()


def test_only_replaces_one_section_and_states_where_it_was_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The others, and the place and time of their run, stay as they are."""
    about, before = read_results()
    write_results(tmp_path, about, before)
    fresh = Section("idle", "Idle", "a table", [], [Idle(WORKER, "ours", 1.0, 3, 1.0, 0.05, 9.0)])
    monkeypatch.setattr(bench, "_prepare", lambda: None)
    monkeypatch.setattr(bench, "run_all", lambda _size, _folder, _only: [fresh])
    monkeypatch.setattr("sys.argv", ["bench", "--only", "idle", "--results", str(tmp_path)])
    bench.main()
    now, after = read_results(tmp_path)
    assert now == about
    assert [s for s in after if s.key != "idle"] == [s for s in before if s.key != "idle"]
    [idle] = [section for section in after if section.key == "idle"]
    assert idle.idle == fresh.idle
    assert idle.about["command"] == f"make bench ARGS='--only idle --results {tmp_path}'"
    assert "Measured separately" in (tmp_path / "results.md").read_text()
