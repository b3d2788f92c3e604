"""The AWS of the contestants: AWS's own DynamoDB Local, and SQS and SNS in memory."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.arguments import BenchmarkError
from benchmarks.processes import ProcessGroup
from benchmarks.wire import HOST
from operations.embedded_aws import EmbeddedAws
from operations.free_port import free_port

DYNAMODB_LOCAL = Path("/usr/lib/localstack/dynamodb-local/2")
"""Folder in which LocalStack, or its start without Docker, installs AWS's DynamoDB Local."""
JAR = "DynamoDBLocal.jar"
START_SECONDS = 30.0
POLL_SECONDS = 0.02


@dataclass(slots=True)
class Endpoints:
    """The running servers, and the driver's connection to them."""

    url: str
    dynamodb_url: str
    """URL of the gateway, which counts and delays calls."""
    direct_url: str
    """URL of DynamoDB itself, for unmeasured calls; the gateway's if it answers by itself."""
    dynamodb: str
    """Description of what serves as DynamoDB."""
    servers: list[ProcessGroup]
    delay: tuple[float, float] = (0.0, 0.0)
    _connection: http.client.HTTPConnection | None = None

    def tell(self, what: str, **request: Any) -> dict[str, Any]:
        """Send the server an order or a question; return its answer."""
        if self._connection is None:
            address = urlsplit(self.url)
            self._connection = http.client.HTTPConnection(HOST, address.port or 0, timeout=60)
        self._connection.request("POST", f"/_bench/{what}", json.dumps(request))
        answer: dict[str, Any] = json.load(self._connection.getresponse())
        return answer

    def reset(self) -> None:
        """Reset the counts; the queues stay."""
        self.tell("reset", delay=self.delay)

    def cpu_seconds(self) -> float:
        """Return the processor time that the servers have used."""
        return sum(server.cpu_seconds() for server in self.servers)


def find_dynamodb_local() -> Path | None:
    """Return the folder of DynamoDB Local, or None if it or Java is not installed."""
    folder = Path(os.environ.get("DYNAMODB_LOCAL_HOME", DYNAMODB_LOCAL))
    return folder if (folder / JAR).exists() and shutil.which("java") else None


@contextlib.contextmanager
def endpoints(
    folder: Path, *, empty_table: bool = False, delay: tuple[float, float] = (0.0, 0.0)
) -> Iterator[Endpoints]:
    """Run the servers while the block runs; write their logs to `folder`.

    DynamoDB is the first available of: an answer for an empty table, if requested; what
    AWS_ENDPOINT_URL_DYNAMODB names; DynamoDB Local; MiniStack.
    """
    with contextlib.ExitStack() as stack:
        servers: list[ProcessGroup] = []

        def start(name: str, *command: str) -> None:
            server = ProcessGroup([command], {**os.environ}, folder / f"{name}.log")
            servers.append(server)
            stack.callback(server.stop)

        dynamodb, port = "answers of an empty table", 0
        if not empty_table:
            dynamodb, port = _dynamodb(start, stack)
        own, gateway = free_port(), free_port()
        start(
            "fake-aws", sys.executable, "-m", "benchmarks.fake_aws", *map(str, (own, gateway, port))
        )
        for waited_for in {own, gateway, port} - {0}:
            _wait_for(waited_for)
        found = Endpoints(
            url=f"http://{HOST}:{own}",
            dynamodb_url=f"http://{HOST}:{gateway}",
            direct_url=f"http://{HOST}:{port or gateway}",
            dynamodb=dynamodb,
            servers=servers,
            delay=delay,
        )
        found.reset()
        yield found


def _dynamodb(start: Any, stack: contextlib.ExitStack) -> tuple[str, int]:
    """Return a description of what serves as DynamoDB, and its port on this machine."""
    if given := os.environ.get("AWS_ENDPOINT_URL_DYNAMODB"):
        port = _local_port(given)
        return f"AWS_ENDPOINT_URL_DYNAMODB, port {port}", port
    folder = find_dynamodb_local()
    if folder is None:
        print(f"bench: no DynamoDB Local (java, and {JAR} in {DYNAMODB_LOCAL} or")
        print("bench: $DYNAMODB_LOCAL_HOME): MiniStack takes its place, slow and growing slower")
        embedded = stack.enter_context(EmbeddedAws())
        return "MiniStack", urlsplit(embedded.endpoint_url).port or 0
    port = free_port()
    start("dynamodb-local", *_dynamodb_local(folder, port))
    return "DynamoDB Local in memory", port


def _local_port(url: str) -> int:
    """Return the port of an endpoint on this machine.

    Raises:
        BenchmarkError: it is elsewhere, or is not a URL with a port.
    """
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        if parts.hostname in {HOST, "localhost"} and parts.port:
            return parts.port
    wanted = f"http://{HOST}:PORT"
    raise BenchmarkError(f"AWS_ENDPOINT_URL_DYNAMODB is {url!r} and has to be {wanted}")


def _dynamodb_local(folder: Path, port: int) -> tuple[str, ...]:
    """Return the command that runs DynamoDB Local.

    Its listen address cannot be configured. It holds generated users, for some minutes.
    """
    return (
        *("env", f"LD_LIBRARY_PATH={folder}/DynamoDBLocal_lib"),  # with its SQLite
        *("java", "-Xmx3g"),
        *("-jar", f"{folder}/{JAR}", "-inMemory", "-sharedDb", "-disableTelemetry"),
        *("-port", str(port)),
    )


@contextlib.contextmanager
def dynamodb_alone(logs: Path) -> Iterator[str]:
    """Run DynamoDB Local while the block runs; yield its URL. Its log goes to `logs`.

    Raises:
        BenchmarkError: DynamoDB Local or Java is not installed.
    """
    folder = find_dynamodb_local()
    if folder is None:
        raise BenchmarkError(f"needs java, and {JAR} in {DYNAMODB_LOCAL} or $DYNAMODB_LOCAL_HOME")
    port = free_port()
    command = _dynamodb_local(folder, port)
    server = ProcessGroup([command], {**os.environ}, logs / "dynamodb-local.log")
    try:
        _wait_for(port)
        yield f"http://{HOST}:{port}"
    finally:
        server.stop()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(POLL_SECONDS)
    raise BenchmarkError(f"nothing answers on port {port} after {START_SECONDS:g} s")
