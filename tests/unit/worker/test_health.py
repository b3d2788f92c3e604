"""The heartbeat file of a worker, and its evaluation by `user-worker health`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from cli.app import run
from worker.errors import ExitCode
from worker.health.assessment import HealthAssessment
from worker.health.heartbeat import HeartbeatError, HeartbeatFile, directory, heartbeats
from worker.health.report import Report
from worker.health.reporter import HealthReporter

SICK = Report(("the event loop has not run",), ("queue q: the store is unavailable",))


# --- the file --------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the heartbeat files; the test is another process than the workers."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return directory()


@pytest.fixture
def other() -> Iterator[int]:
    """The id of another process, which lives as long as the test."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate(b"\n")


def beat(folder: Path, pid: int, *, age: float = 0.0, report: Report = SICK) -> Path:
    """Write the heartbeat of a process."""
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{pid}.json"
    path.write_text(json.dumps({"pid": pid, "at": time.monotonic() - age, **asdict(report)}))
    return path


@pytest.mark.parametrize(
    "text", ["{}", "[]", "null", '{"pid": 1, "at": 0, "not_live": "x", "not_ready": []}', "3"]
)
def test_an_invalid_report_is_refused(folder: Path, other: int, text: str) -> None:
    """The file of another program is not taken for a healthy worker."""
    path = beat(folder, other)
    assert [each.report for each in heartbeats(folder)] == [SICK]
    path.write_text(text)
    assert heartbeats(folder) == []


def test_what_is_written_is_read_by_another_process(folder: Path) -> None:
    """The report is unchanged, with its age, and the file is removed when the worker ends."""
    file = HeartbeatFile(folder)
    file.write(SICK)
    look = "import sys, pathlib; from worker.health.heartbeat import heartbeats\n"
    look += "print(heartbeats(pathlib.Path(sys.argv[1])))"
    seen = subprocess.run(
        [sys.executable, "-c", look, folder], check=True, capture_output=True, text=True
    )
    assert f"Heartbeat(pid={os.getpid()}, age=" in seen.stdout
    assert repr(SICK) in seen.stdout
    assert folder.stat().st_mode & 0o777 == 0o700
    file.remove()
    assert not folder.exists()
    file.write(SICK)  # another worker has just removed the file
    assert [path.suffix for path in folder.iterdir()] == [".json"]


def test_a_heartbeat_that_is_late_is_a_worker_that_does_not_live(folder: Path, other: int) -> None:
    """Its report does not matter; a heartbeat from before the machine's start is late too."""
    path = beat(folder, other, age=29, report=Report())
    assert [each.health for each in heartbeats(folder)] == [Report()]
    beat(folder, other, age=31, report=Report())
    [late] = heartbeats(folder)
    assert late.health.not_live == ("no heartbeat for 31 s",)
    beat(folder, other, age=-1000, report=Report())
    assert not heartbeats(folder)[0].health.live
    path.write_text("half of a fi")
    assert heartbeats(folder) == []


def test_a_new_worker_removes_the_files_of_ended_workers(folder: Path, other: int) -> None:
    """A restarted container may find files of its last run, with ids that are used again."""
    living = beat(folder, other)
    gone = beat(folder, 2**22 + 1)
    assert [each.pid for each in heartbeats(folder)] == [other]
    strange = folder / "strange.json"
    strange.write_text("{}")
    HeartbeatFile(folder)
    assert living.exists()
    assert not gone.exists()
    assert not strange.exists()
    beat(folder, other, age=3600)
    HeartbeatFile(folder)
    assert not living.exists()


def test_a_directory_of_another_user_is_not_written_to(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a directory that all users may write to, the name may be taken, even by a link."""
    folder.symlink_to(folder.parent)
    with pytest.raises(HeartbeatError, match="not a directory of this user"):
        HeartbeatFile(folder)
    folder.unlink()
    folder.write_text("")
    with pytest.raises(HeartbeatError):
        HeartbeatFile(folder)
    folder.unlink()
    folder.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    with pytest.raises(HeartbeatError, match="not a directory of this user"):
        HeartbeatFile(folder)


def test_a_heart_beats_at_once_and_outlives_a_full_disk(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first heartbeat is written at the start, and an error of the disk ends nothing."""
    file = HeartbeatFile(folder)
    reporter = HealthReporter(HealthAssessment(), file)
    reporter.start()
    assert len(list(folder.iterdir())) == 1
    reporter.stop()
    assert not folder.exists()

    def full(_: Report) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(file, "write", full)
    reporter = HealthReporter(HealthAssessment(), file)
    reporter.start()
    reporter.stop()


# --- the command -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("report", "live", "ready", "says"),
    [
        (Report(), 0, 0, "live, ready"),
        (Report((), ("starting",)), 0, 1, "live, not ready: starting"),
        (SICK, 1, 1, "not live, not ready: the event loop has not run; queue q: the store"),
    ],
)
def test_the_command_answers_by_its_exit_code(  # noqa: PLR0917
    folder: Path,
    other: int,
    capsys: pytest.CaptureFixture[str],
    report: Report,
    live: int,
    ready: int,
    says: str,
) -> None:
    """A probe needs only the exit code; an operator gets the reasons."""
    beat(folder, other, report=report)
    assert run(["health", "--live"]) == live
    capsys.readouterr()
    assert run(["health"]) == run(["health", "--ready"]) == ready
    assert f"worker {other}: {says}" in capsys.readouterr().out
    assert run(["health", "--json"]) == ready
    told = json.loads(capsys.readouterr().out)
    assert (told["pid"], told["live"], told["ready"]) == (other, live == 0, ready == 0)


def test_without_a_worker_the_answer_is_no(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A container whose worker has not started yet, or has ended, is not healthy."""
    assert run(["health", "--live"]) == ExitCode.NEGATIVE
    assert "no worker" in capsys.readouterr().err
    assert not folder.exists()  # asking leaves nothing


def test_one_of_several_workers_that_is_ill_makes_the_answer_no(folder: Path, other: int) -> None:
    """On a machine with several workers, each one counts."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as second:
        beat(folder, other, report=Report())
        beat(folder, second.pid, report=Report())
        assert run(["health"]) == ExitCode.OK
        beat(folder, second.pid, report=SICK)
        assert run(["health", "--live"]) == ExitCode.NEGATIVE
        second.communicate(b"\n")


@pytest.mark.parametrize("question", [[], ["--live"], ["--ready"]])
def test_a_probe_is_cheap(question: list[str]) -> None:
    """It runs every few seconds: it imports neither the command line nor Celery nor the SDK."""
    look = "import atexit, sys; from cli import main; "
    look += "heavy = {'celery', 'kombu', 'botocore', 'pydantic', 'rich', 'structlog', 'typer'}; "
    look += "atexit.register(lambda: print(sorted(heavy & sys.modules.keys()))); main()"
    done = subprocess.run(
        [sys.executable, "-c", look, "health", *question],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode in {ExitCode.OK, ExitCode.NEGATIVE}
    assert done.stdout.splitlines()[-1] == "[]"
