"""Every program of the benchmarks runs, in its smallest form; `make bench-short` runs the rest."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import boto3
import pytest

from benchmarks.arguments import BenchmarkError, errors_in_one_line
from benchmarks.endpoints import endpoints
from operations.embedded_aws import EmbeddedAwsError
from operations.free_port import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.embedded]

ROOT = Path(__file__).parents[2]
SECONDS = 300


def run(module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
        text=True,
        timeout=SECONDS,
    )


@pytest.mark.parametrize(
    ("module", "arguments", "prints"),
    [
        ("benchmarks.direct_calls", ["10"], "| all six |"),
        ("benchmarks.telemetry_cost", ["--rounds=1", "--batches=4"], "| metrics and all traces"),
        ("benchmarks.permissions_cost", ["--rounds=1", "--batches=4"], "| both, 100 producers"),
        ("benchmarks.console_cost", ["--rounds=1", "--seconds=3"], "| console, one page open |"),
        (
            "benchmarks.console_pages",
            ["--letters=20", "--entries=5", "--users=20", "--requests=1"],
            "| live |",
        ),
        ("benchmarks.reader_cache", ["--users=20", "--checks=100"], "a check by a read:"),
        ("benchmarks.migration", ["--items=40", "--again"], "each item is as expected"),
        ("benchmarks.scale", ["footprints"], "| token rotation | 1 |"),
        ("benchmarks.scale.rehearsal", ["--seconds=1"], "100 commands/s, 8 tasks:"),
    ],
)
def test_a_program_runs(aws_endpoint: str, module: str, arguments: list[str], prints: str) -> None:
    """It ends with success, and prints the last of its figures."""
    environment = {"AWS_ENDPOINT_URL": aws_endpoint}
    if module == "benchmarks.console_pages":
        # otherwise it starts a DynamoDB Local, for ten seconds of processor time
        environment["AWS_ENDPOINT_URL_DYNAMODB"] = aws_endpoint
    done = run(module, *arguments, **environment)
    assert done.returncode == 0, done.stderr
    assert prints in done.stdout


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("benchmarks.direct_calls", ["x"]),
        ("benchmarks.direct_calls", ["9"]),
        ("benchmarks.fake_aws", []),
        ("benchmarks.fake_aws", ["1", "2", "65536"]),
        ("benchmarks.migration", ["--items=1"]),
        ("benchmarks.migration", ["--old=2"]),
        ("benchmarks.migration", ["--old=nan"]),
        ("benchmarks.telemetry_cost", ["--batches=0"]),
        ("benchmarks.telemetry_cost", ["--before=nowhere"]),
        ("benchmarks.permissions_cost", ["--batches=0"]),
        ("benchmarks.console_cost", ["--seconds=1"]),
        ("benchmarks.console_pages", ["--letters=1"]),
        ("benchmarks.reader_cache", ["--users=0"]),
        ("benchmarks.scale.__main__", ["nothing"]),
        ("benchmarks.scale.rehearsal", ["--seconds=0"]),
        ("benchmarks.pages", ["README.md"]),
    ],
)
def test_bad_usage_is_one_line(
    module: str,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The exit code is 2, and nothing is started."""
    monkeypatch.setattr("sys.argv", [module, *arguments])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(module).main()
    assert ended.value.code == 2
    printed = capsys.readouterr()
    [line] = printed.err.splitlines()
    assert line.startswith("python -m benchmarks.")
    assert printed.out == ""


@pytest.mark.parametrize("contestant", ["floor", "ceiling", "one_at_a_time"])
def test_a_contestant_started_by_hand_names_make_bench(contestant: str) -> None:
    """It takes its queue from the benchmark, and no other."""
    done = run(f"benchmarks.contestants.{contestant}")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "`make bench` starts this program" in line


@pytest.mark.parametrize(
    "url", ["http://example.com:8000", "http://127.0.0.1", "http://127.0.0.1:x", "8000"]
)
def test_another_dynamodb_has_to_be_on_this_machine(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint that is named and cannot be used is an error, not ignored."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", url)
    with pytest.raises(BenchmarkError, match=r"AWS_ENDPOINT_URL_DYNAMODB is .* has to be http://"):
        endpoints(tmp_path).__enter__()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BenchmarkError("no queue", ["a log line"]), "bench: no queue"),
        (EmbeddedAwsError("does not start"), "bench: does not start"),
        (FileNotFoundError(2, "No such file"), "bench: FileNotFoundError: [Errno 2] No such file"),
        (KeyboardInterrupt(), 130),
    ],
)
def test_a_foreseeable_failure_is_one_line(error: BaseException, code: str | int) -> None:
    """A text as exit code is written to standard error, and the code is 1."""
    with pytest.raises(SystemExit) as ended, errors_in_one_line("bench"):
        raise error
    assert ended.value.code == code


def test_the_fake_aws_can_be_provisioned_and_takes_messages() -> None:
    """As in docs/how-to/bulk.md: a queue for an import, created by this worker's own command."""
    ports = [str(free_port()) for _ in range(2)]
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.fake_aws", *ports, "0"], cwd=ROOT)
    url, dynamodb_url = (f"http://127.0.0.1:{port}" for port in ports)
    try:
        wait_for(int(ports[1]))
        environment = {"AWS_ENDPOINT_URL": url, "AWS_ENDPOINT_URL_DYNAMODB": dynamodb_url}
        done = run("cli", "provision", **environment)
        assert done.returncode == 0, done.stderr
        sqs = boto3.client("sqs", endpoint_url=url)
        queue = sqs.get_queue_url(QueueName="user-commands")["QueueUrl"]
        assert sqs.send_message(QueueUrl=queue, MessageBody="hello")["MessageId"]
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(10) == 130


def wait_for(port: int) -> None:
    """Wait until something listens."""
    deadline = time.monotonic() + 20
    while True:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline
        time.sleep(0.05)
