"""An emulator account with all resources under their default names, and programs that use it.

Both emulators take a twelve-digit access key as an account number, and keep accounts apart.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from tests.e2e.worker_process import eventually

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class World:
    """An account with the default resources, a worker, and `user-worker events` listening."""

    environment: dict[str, str]
    folder: Path
    heard: Path
    sqs: Any

    def run(self, *command: str | Path, cwd: Path = ROOT) -> str:
        """Run a program to its end; return its standard output."""
        done = subprocess.run(
            command,
            check=False,
            cwd=cwd,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=45,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def events(self, **attributes: object) -> list[dict[str, Any]]:
        """Return the events received so far that have these attributes."""
        lines = self.heard.read_text().splitlines(keepends=True)
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in events if event.items() >= attributes.items()]

    def answer(self, command_id: str) -> dict[str, Any]:
        """Wait for the one event that a command causes, and return it."""
        found = eventually(lambda: self.events(causationid=command_id), 20, "an event")
        assert len(found) == 1
        return found[0]

    def send(self, user_id: str, command: str, data: dict[str, Any]) -> dict[str, Any]:
        """Send a command, as any service may; wait for its event and return it."""
        command_id = str(uuid.uuid4())
        sent = {
            "specversion": "1.0",
            "id": command_id,
            "source": "/test",
            "type": f"biome.user.{command}.v1",
            "subject": user_id,
            "data": data,
        }
        self.sqs.send_message(QueueUrl=self.queue_url(), MessageBody=json.dumps(sent))
        return self.answer(command_id)

    def queue_url(self, name: str = "user-commands") -> str:
        """Return the URL of a queue."""
        url: str = self.sqs.get_queue_url(QueueName=name)["QueueUrl"]
        return url

    def depths(self, name: str) -> tuple[int, int]:
        """Count a queue's visible and invisible messages."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.sqs.get_queue_attributes(QueueUrl=self.queue_url(name), AttributeNames=names)
        visible, invisible = (int(answer["Attributes"][name]) for name in names)
        return visible, invisible


def client(service: Any, environment: dict[str, str]) -> Any:
    """Create a client for the account of an environment."""
    return boto3.client(
        service,
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )


def clear(environment: dict[str, str]) -> None:
    """Delete everything in the account, because an emulator may run for days."""
    sqs, sns, dynamodb = (client(name, environment) for name in ("sqs", "sns", "dynamodb"))
    for url in sqs.list_queues().get("QueueUrls", []):
        sqs.delete_queue(QueueUrl=url)
    for topic in sns.list_topics()["Topics"]:
        sns.delete_topic(**topic)
    for name in dynamodb.list_tables()["TableNames"]:
        dynamodb.delete_table(TableName=name)


@contextlib.contextmanager
def running(
    command: list[str],
    environment: dict[str, str],
    output: Path,
    sign: str,
    end: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in the background; enter the block when its output shows that it is ready.

    The program is ended by a signal. Its standard error is in the file `talk_of(output)`.
    """
    with output.open("wb") as out, talk_of(output).open("wb") as err:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=out, stderr=err, start_new_session=True
        )

    def ready() -> bool:
        said = output.read_text() + talk_of(output).read_text()
        assert process.poll() is None, said
        return sign in said

    try:
        eventually(ready, 40, f"{sign!r} from {command}")
        yield process
    finally:
        process.send_signal(end)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)


def talk_of(output: Path) -> Path:
    """Return the path of a program's standard error, given that of its standard output."""
    return output.with_suffix(".talk")


def command_lines(page: str, start: str) -> str:
    """Return the shell block of a page that starts like this, with this environment's programs."""
    found = re.search(rf"^```sh\n({re.escape(start)}.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert found, f"no block that starts with {start}"
    return found[1].replace(".venv/bin/", f"{BIN}/")


@contextlib.contextmanager
def default_world(aws_endpoint: str, folder: Path) -> Iterator[World]:
    """Start what docs/how-to/operations.md describes, in its own account."""
    account = str(random.randrange(10**11, 10**12))
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL": aws_endpoint,
        "AWS_ACCESS_KEY_ID": account,
        "AWS_REGION": os.environ["AWS_DEFAULT_REGION"],
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONUNBUFFERED": "1",
    }
    made = World(environment, folder, folder / "heard", client("sqs", environment))
    made.run(BIN / "user-worker", "provision")
    operations = (ROOT / "docs" / "how-to" / "operations.md").read_text()
    start = command_lines(operations, ".venv/bin/user-worker run --pool").split()
    listen = [str(BIN / "user-worker"), "events", "--json"]
    with (
        running(start, environment, folder / "worker", "worker_ready"),
        running(listen, environment, made.heard, "following user-events", signal.SIGINT),
    ):
        yield made
    clear(environment)
