"""`user-worker dev`: what a new user sees first, and that nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from cli.commands.console import PACKAGES
from tests.conftest import ResourceNames
from tests.e2e.command_line import CommandLine
from tests.e2e.worker_process import eventually

pytestmark = [pytest.mark.embedded]

OWN_AWS = {"AWS_ENDPOINT_URL": "", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
"""No AWS setting is set, so `dev` starts its own AWS."""
ENDED = re.compile(r"^(\w+) .*? (accepted(?:, no effect)?|rejected \w+|duplicate|dead letter \w+) ")
DEAD_PROXY = dict.fromkeys(
    ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"), "http://127.0.0.1:9"
)


def started_by(pid: int) -> set[int]:
    """Return the ids of all descendants of a process."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents[int(entry.parent.name)] = int(fields[1])
    found: set[int] = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def alive(pids: set[int]) -> set[int]:
    """Return the processes that still run."""
    left = set()
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if state != "Z":
            left.add(pid)
    return left


def wait_for_line(process: subprocess.Popen[str], text: str) -> str:
    """Read standard output up to a line with `text`; return the line."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return line
    pytest.fail(f"it ended without saying {text!r}")


def endings(out: str) -> list[tuple[str, str]]:
    """Return command and outcome of each line of the table."""
    return [match.groups() for line in out.splitlines() if (match := ENDED.match(line))]  # type: ignore[misc]


ALL_ENDINGS = Counter(
    {
        ("RegisterUser", "accepted"): 3,
        ("RegisterUser", "duplicate"): 1,
        ("RegisterUser", "rejected EmailTaken"): 1,
        ("RegisterUser", "dead letter InvalidField"): 1,
        ("StartSession", "accepted"): 2,
        ("StartSession", "rejected SecondFactorRequired"): 1,
        ("EnableTwoFactor", "accepted"): 1,
        ("StartSession", "rejected UserBanned"): 1,
        ("BanUser", "accepted"): 1,
        ("RotateRefreshToken", "accepted"): 2,
        ("RotateRefreshToken", "rejected RefreshTokenReused"): 1,
        ("UnbanUser", "accepted, no effect"): 1,
    }
)


def test_once_shows_every_kind_of_outcome_and_ends_well(tmp_path: Path) -> None:
    """Without AWS and settings, and with a dead proxy: what `make run ARGS=--once` does."""
    variables = {"TMPDIR": str(tmp_path), **OWN_AWS, **DEAD_PROXY}
    done = CommandLine().start("dev", "--samples", "--once", **variables)
    assert done.code == 0, done.out + done.err
    assert Counter(endings(done.out)) == ALL_ENDINGS
    assert "data.password_hash: must be an argon2id hash" in done.out
    assert "correct horse" not in done.out + done.err
    assert "-> RegisterUser" in done.out
    assert "<- UserRegistered" in done.out
    assert list(tmp_path.iterdir()) == []  # no log, and no files of the emulator


@pytest.mark.localstack  # on the embedded AWS this would repeat the test above
def test_on_a_given_aws_the_samples_end_alike(
    aws_endpoint: str, resource_names: ResourceNames
) -> None:
    """AWS_ENDPOINT_URL is used when it is set, here with the prefork pool."""
    cli = CommandLine.on(resource_names, aws_endpoint)
    done = cli.start("dev", "--samples", "--once", "--pool", "prefork")
    assert done.code == 0, done.out + done.err
    assert Counter(endings(done.out)) == ALL_ENDINGS
    assert aws_endpoint in done.out


def test_without_the_extra_console_everything_else_works(tmp_path: Path) -> None:
    """One line says what is missing, and how to install it."""
    hidden = "".join(f"sys.modules[{name!r}] = None\n" for name in PACKAGES)
    (tmp_path / "sitecustomize.py").write_text(f"import sys\n{hidden}")
    variables = {"PYTHONPATH": str(tmp_path), **OWN_AWS, **DEAD_PROXY}
    done = CommandLine().start("dev", "--samples", "--once", **variables)
    assert done.code == 0, done.out + done.err
    assert Counter(endings(done.out)) == ALL_ENDINGS
    told = re.findall(r"^console +(.*)$", done.out, re.MULTILINE)
    assert len(told) == 1
    assert "not installed" in told[0]
    assert "pip install 'user-worker[console]'" in done.out


def test_a_command_from_another_terminal_is_one_short_line(tmp_path: Path) -> None:
    """It has the command, its outcome, the beginning of the user's id and the milliseconds."""
    with CommandLine().running("dev", TMPDIR=str(tmp_path), **OWN_AWS) as process:
        exported = wait_for_line(process, "  export AWS_ENDPOINT_URL=")
        variables = dict(word.split("=", 1) for word in exported.split()[1:])
        other = CommandLine(variables)
        person = ("email=alan@example.com", "first_name=Alan", "last_name=Turing", "roles=customer")
        for _ in range(2):  # the second is rejected, since the address is taken
            other.run("send", "CreateUser", *person, "--wait", "20")
        lines = [wait_for_line(process, "  command  CreateUser ") for _ in range(2)]
    shown = r"\d\d:\d\d:\d\d\.\d{3}  command  CreateUser +%s +[0-9a-f]{8} +[\d.]+ ms\n"
    assert re.fullmatch(shown % "accepted", lines[0])
    assert re.fullmatch(shown % "rejected EmailTaken", lines[1])
    assert max(map(len, lines)) <= 101


def test_sigterm_ends_everything_and_leaves_no_process(tmp_path: Path) -> None:
    """A normal end leaves no child process, no file and no error."""
    with CommandLine().running(
        "dev", "--pool", "prefork", TMPDIR=str(tmp_path), **OWN_AWS
    ) as process:
        wait_for_line(process, "Following the events")
        children = started_by(process.pid)
        assert len(children) >= 2  # worker and AWS
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "all processes have ended" in err
    assert alive(children) == set()
    assert list(tmp_path.iterdir()) == []


def test_killed_it_takes_everything_with_it(tmp_path: Path) -> None:
    """Worker and AWS end by themselves even without a chance to clean up."""
    with CommandLine().running("dev", "--pool", "prefork", TMPDIR=str(tmp_path), **OWN_AWS) as dev:
        wait_for_line(dev, "Following the events")
        children = started_by(dev.pid)
        dev.kill()
        dev.wait(10)
        eventually(lambda: not alive(children), seconds=15, what="the children end")


def test_ctrl_c_in_a_terminal_reaches_the_whole_group_and_nothing_stays(tmp_path: Path) -> None:
    """A run with `--once` that was interrupted is not a success."""
    with CommandLine().running("dev", "--once", TMPDIR=str(tmp_path), **OWN_AWS) as process:
        wait_for_line(process, "-> RegisterUser")
        children = started_by(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert alive(children) == set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_and_a_closed_terminal_stop_it_and_everything_it_started(
    tmp_path: Path, number: signal.Signals
) -> None:
    """The worker finishes its batch, and a run that was stopped while it followed is a success."""
    with CommandLine().running("dev", TMPDIR=str(tmp_path), **OWN_AWS) as process:
        wait_for_line(process, "Following the events")
        children = started_by(process.pid)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in err) == (0, False)
    assert alive(children) == set()


def test_if_the_worker_ends_it_is_reported_and_its_log_is_kept(tmp_path: Path) -> None:
    """If the worker dies, the program ends with the path of the worker's log."""
    with CommandLine().running("dev", TMPDIR=str(tmp_path), **OWN_AWS) as process:
        assert process.stdout is not None
        pid = 0
        for line in process.stdout:
            if found := re.search(r"process (\d+)", line):
                pid = int(found[1])
            if "Following" in line:
                break
        os.kill(pid, signal.SIGKILL)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 3
    log = re.search(r"error: the worker ended .*; see its log: (\S+)", err)
    assert log, err
    assert Path(log[1]).is_file()


def test_a_port_in_use_is_an_error() -> None:
    """For a port in use, one line gives the remedy."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = CommandLine().start("dev", "--port", str(taken.getsockname()[1]), **OWN_AWS)
    assert done.code == 3
    assert "in use" in done.err
    assert "--port" in done.err
    assert "stopped" not in done.err  # nothing was started


def test_a_given_aws_that_does_not_answer_is_an_error() -> None:
    """`dev` does not start the embedded AWS if an endpoint was given."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        done = CommandLine().start("dev", AWS_ENDPOINT_URL=url)
    assert done.code == 3
    assert f"nothing answers at {url}" in done.err
    assert "stopped" not in done.err


def test_samples_that_do_not_end_in_time_are_a_failure(tmp_path: Path) -> None:
    """A timeout is a failure, and the log is kept to find the cause."""
    done = CommandLine().start("dev", "--once", "--timeout", "0.1", TMPDIR=str(tmp_path), **OWN_AWS)
    assert done.code in {3, 4}
    assert "error: " in done.err
    assert list(tmp_path.glob("user-worker-dev-*/worker.log"))
