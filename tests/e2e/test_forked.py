"""A program forked from a process with its libraries behaves like one started plainly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fork_probe import TOLD_BEFORE_THE_END
from tests.e2e.forked import POSSIBLE, ROOT, ForkedProcess, ForkServer
from tests.e2e.worker_process import eventually

pytestmark = [
    pytest.mark.skipif(not POSSIBLE, reason="only Linux has what it needs"),
    pytest.mark.xdist_group("forked"),
]
PROBE = "tests.e2e.fork_probe"


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    """A server that has imported few modules."""
    made = ForkServer(preloaded=("tempfile", "random", "logging"))
    yield made
    made.stop()


def environment() -> dict[str, str]:
    """Return an environment that differs from that of the server."""
    given = {name: value for name, value in os.environ.items() if name != "HOME"}
    return given | {
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "TZ": "Pacific/Chatham",
        "TMPDIR": "/dev/shm",
        "GRÜSSE": "an alle",
    }


def forked(server: ForkServer, output: Path, end: str) -> ForkedProcess:
    """Start the probe as a fork."""
    with output.open("wb") as file:
        return server.start(PROBE, [end, "-x"], environment(), file)


def seen(output: Path) -> dict[str, Any]:
    """Return what the probe reported."""
    told: dict[str, Any] = json.loads(output.read_text().splitlines()[0])
    return told


@pytest.mark.parametrize("end", ["exit=0", "exit=3", "raise=why", f"signal={int(signal.SIGTERM)}"])
def test_a_fork_sees_and_ends_as_a_plain_start_does(
    server: ForkServer, tmp_path: Path, end: str
) -> None:
    """Same arguments, environment, folder, files, signals, session, exit code and last output."""
    plain, fork = tmp_path / "plain", tmp_path / "fork"
    with plain.open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-m", PROBE, end, "-x"],
            check=False,
            env=environment(),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    assert forked(server, fork, end).wait(30) == done.returncode
    assert seen(fork)["seen"] == seen(plain)["seen"]
    rest = fork.read_text().splitlines()[1:]
    assert rest[-1:] == plain.read_text().splitlines()[1:][-1:]
    assert (rest == [TOLD_BEFORE_THE_END]) == end.startswith("exit")


def test_a_fork_lives_until_it_is_killed_and_throws_dice_of_its_own(
    server: ForkServer, tmp_path: Path
) -> None:
    """Two forks run at a time and do not affect each other; a third starts after both."""
    outputs = [tmp_path / str(n) for n in range(3)]
    first, second = (forked(server, output, "hang=") for output in outputs[:2])
    eventually(lambda: all(o.exists() and o.read_text().endswith("\n") for o in outputs[:2]))
    assert (first.poll(), second.poll()) == (None, None)
    with pytest.raises(subprocess.TimeoutExpired):
        first.wait(0.01)
    os.killpg(first.pid, signal.SIGKILL)
    assert first.wait(30) == -signal.SIGKILL == first.poll()
    assert second.poll() is None
    os.killpg(second.pid, signal.SIGINT)
    assert second.wait(30) == -signal.SIGINT
    assert forked(server, outputs[2], "exit=0").wait(30) == 0
    assert len({seen(output)["random"] for output in outputs}) == 3
    assert seen(outputs[1])["seen"]["files"] == seen(outputs[0])["seen"]["files"]


def test_a_server_that_cannot_start_is_an_error(tmp_path: Path) -> None:
    """A missing module must not look like a slow worker."""
    server = ForkServer(preloaded=("tests.e2e.there_is_none",))
    with pytest.raises(AssertionError, match="has ended"):
        forked(server, tmp_path / "output", "exit=0")
    server.stop()


READS = """
import json, os, sys
read = []
def noting(method):
    def noted(environ, name):
        read.append(name)
        return method(environ, name)
    return noted
kind = type(os.environ)
kind.__getitem__, kind.__contains__ = noting(kind.__getitem__), noting(kind.__contains__)
import tests.e2e.preloaded
applications = sorted({"worker.app", "worker.tasks"} & {*sys.modules})
print(json.dumps({"read": read, "applications": applications}))
"""


def test_what_forks_share_has_read_no_setting() -> None:
    """Otherwise a module that reads a setting on import would give the server's to all forks."""
    ran = subprocess.run(
        [sys.executable, "-c", READS],
        check=True,
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    told = json.loads(ran.stdout)
    varied = ("AWS_ENDPOINT_URL", "AWS_REGION", "OTEL_", "PROMETHEUS_", "RECORD_", "USER_WORKER_")
    assert [name for name in told["read"] if name.startswith(varied)] == []
    assert told["read"]  # or nothing was noted
    assert told["applications"] == []


def test_what_still_runs_ends_with_the_server(tmp_path: Path) -> None:
    """This holds however the tests end: the server sees only that its connection is closed."""
    server, output = ForkServer(preloaded=()), tmp_path / "output"
    running, ended = forked(server, output, "hang="), forked(server, tmp_path / "other", "exit=3")
    eventually(lambda: output.read_text().endswith("\n"))
    eventually(lambda: ended.poll() is not None)
    server.stop()
    assert (running.wait(30), ended.returncode) == (-signal.SIGKILL, 3)
