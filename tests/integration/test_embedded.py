from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from operations.doctor import machine, reach
from operations.embedded_aws import EmbeddedAws, EmbeddedAwsError

DEADLINE = 20.0


def until(condition: Callable[[], bool]) -> bool:
    """Wait until the condition holds or the deadline is past; return True if it holds."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_running(pid: int) -> bool:
    """Return True if the process runs; a zombie does not count."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.fixture
def private_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary directory of this test's own, to see what is left in it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_it_answers_for_the_three_services_and_for_no_other(private_tmp: Path) -> None:
    """One endpoint has queues, topics and tables."""
    with EmbeddedAws() as aws:
        session = boto3.Session()
        sqs = session.client("sqs", endpoint_url=aws.endpoint_url)
        sns = session.client("sns", endpoint_url=aws.endpoint_url)
        dynamodb = session.client("dynamodb", endpoint_url=aws.endpoint_url)
        url = sqs.create_queue(QueueName="commands")["QueueUrl"]
        assert url.startswith(aws.endpoint_url)
        assert sns.create_topic(Name="events")["TopicArn"].endswith(":events")
        assert dynamodb.list_tables()["TableNames"] == []


def test_doctor_gives_it_one_name() -> None:
    """It said "MiniStack 1.4.21" of the package and "LocalStack 1.4.21" of the endpoint."""
    (package,) = [each.text for each in machine.program() if each.check == "embedded AWS"]
    with EmbeddedAws() as aws:
        (found,) = reach.emulator(aws.endpoint_url)
    assert package.startswith("MiniStack ")
    assert found.text == f"{package}, with all required services"


def test_it_listens_on_this_machine_only(private_tmp: Path) -> None:
    """Other machines on a laptop's network must not reach it, nor ports besides its own."""
    with EmbeddedAws() as aws:
        listing = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        inodes = {
            str(entry.readlink()).removeprefix("socket:[").rstrip("]")
            for entry in Path(f"/proc/{aws.pid}/fd").iterdir()
            if str(entry.readlink()).startswith("socket:")
        }
        rows = [line.split() for line in listing.splitlines()]
        listening = [row[1] for row in rows if row[3] == "0A" and row[9] in inodes]
        port = int(aws.endpoint_url.rpartition(":")[2])
        assert listening == [f"0100007F:{port:04X}"]  # 127.0.0.1, in the kernel's byte order


def test_nothing_is_left_when_it_stops(private_tmp: Path) -> None:
    """Neither a process nor a file stays, and it can be stopped twice."""
    aws = EmbeddedAws()
    aws.start()
    pid = aws.pid
    aws.stop()
    aws.stop()
    assert not is_running(pid)
    assert list(private_tmp.iterdir()) == []
    with pytest.raises(EmbeddedAwsError, match="is not running"):
        _ = aws.endpoint_url


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_when_the_process_that_started_it_is_killed(
    private_tmp: Path, how: signal.Signals
) -> None:
    """The emulator ends however the parent ends."""
    program = (
        "import time; from operations.embedded_aws import EmbeddedAws\n"
        "aws = EmbeddedAws(); aws.start(); print(aws.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.send_signal(how)
    assert until(lambda: not is_running(pid))
    assert until(lambda: list(private_tmp.iterdir()) == [])


def test_two_at_once_share_nothing(private_tmp: Path) -> None:
    """Parallel test processes each have an AWS of their own."""
    with EmbeddedAws() as one, EmbeddedAws() as other:
        assert one.endpoint_url != other.endpoint_url
        boto3.client("sqs", endpoint_url=one.endpoint_url).create_queue(QueueName="commands")
        listed = boto3.client("sqs", endpoint_url=other.endpoint_url).list_queues()
        assert listed.get("QueueUrls", []) == []


def test_a_port_in_use_is_one_line(private_tmp: Path) -> None:
    """The error says that the requested port is in use, and no process is left waiting."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(EmbeddedAwsError, match=rf"^port {port} of 127\.0\.0\.1 is in use$"):
            EmbeddedAws(port).start()
    assert list(private_tmp.iterdir()) == []


def test_no_answer_in_time_is_an_error_and_leaves_nothing(private_tmp: Path) -> None:
    """A start that hangs ends with an error, not with a process in the background."""
    with pytest.raises(EmbeddedAwsError, match=r"did not answer within 0\.001 s: "):
        EmbeddedAws(timeout=0.001).start()
    assert list(private_tmp.iterdir()) == []


def test_a_child_that_ends_is_reported_with_its_last_output(
    private_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason why it did not start is in the error, not in a file that is gone."""
    package = private_tmp / "broken" / "ministack"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("raise SystemExit('out of luck')\n")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    with pytest.raises(EmbeddedAwsError, match=r"^the embedded AWS ended .* 1: out of luck$"):
        EmbeddedAws().start()


def test_without_ministack_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A production installation has none; the error names the extra that brings it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(EmbeddedAwsError, match=r"pip install 'user-worker\[embedded\]'"):
        EmbeddedAws().start()
