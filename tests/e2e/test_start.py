"""If the machine cannot start a worker, it ends with one readable line and exit code 3."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.e2e.system import PREFORK, THREADS, System
from tests.e2e.worker_process import WorkerProcess
from worker.errors import ExitCode

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]


def _complaint(running: WorkerProcess) -> str:
    """Wait until the worker ends; return the one line that says why."""
    code = running.process.wait(60)
    lines = [line for line in running.log.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, running.log
    assert "Traceback" not in running.log
    assert "Unrecoverable" not in running.log
    assert code == ExitCode.ENVIRONMENT
    return lines[0]


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "No space left on device; free space"),
        (errno.EMFILE, "Too many open files; raise the limit"),
        (errno.EACCES, "Permission denied; the prefork pool's semaphores need a writable /dev/shm"),
    ],
)
def test_a_pool_that_cannot_start_ends_the_worker_with_one_line(
    system: System, monkeypatch: pytest.MonkeyPatch, number: int, says: str
) -> None:
    """The prefork pool needs semaphores, which are files in /dev/shm."""
    monkeypatch.setenv("ERRNO", str(number))
    with system.worker(PREFORK, app="tests.e2e.no_room_app") as running:
        assert says in _complaint(running)


@pytest.mark.parametrize("option", ["-f", "--pidfile", "--statedb"])
def test_a_file_that_cannot_be_written_ends_the_worker_with_one_line(
    system: System, option: str
) -> None:
    """The error line names the file."""
    with system.worker([*THREADS, option, "/nonexistent/file"]) as running:
        assert "/nonexistent/file" in _complaint(running)


def test_without_a_heartbeat_folder_a_worker_runs_and_logs_it(
    system: System, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Probes over HTTP still work, and the worker logs one line."""
    (tmp_path / f"user-worker-{os.getuid()}").write_text("not a directory")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with system.worker(THREADS) as running:
        running.ready()
        assert running.log.count("heartbeat_off") == 1
        assert "Traceback" not in running.log


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux has it")
def test_children_of_the_prefork_pool_share_the_modules_of_their_parent(system: System) -> None:
    """A collection of garbage in a child must not copy the memory of all that was imported."""
    with system.worker(PREFORK) as running:
        pid = running.ready().process.pid
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        children = [_kilobytes(child) for child in found]
        assert len(children) == 2
        assert all(own["Private_Dirty"] < own["Rss"] / 5 for own in children), children


def _kilobytes(pid: str) -> dict[str, int]:
    """Return the memory of a process by kind."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(size.split()[0]) for name, size in (line.split(":") for line in lines)}
