"""A private AWS: SQS, SNS and DynamoDB, emulated by MiniStack in a child process.

For development and tests. No state is kept: all data is lost when it stops.

The child runs exactly as long as the other end of its standard input is open. It therefore stops
on request and when its parent process ends for any reason, and nothing has to be cleaned up
afterwards. The child runs this file.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Self

from operations.free_port import HOST, free_port

START_TIMEOUT = 30.0
"""Seconds. A start takes about one, and several on a busy machine."""
_STOP_TIMEOUT = 5.0
_POLL_INTERVAL = 0.05
_PORT_ATTEMPTS = 3
_LAST_LINES = 5
_LOG = "ministack.log"

# variables that make the child listen elsewhere, keep state or run other programs of this machine
_FOREIGN_PREFIXES = ("AWS_", "DOCKER_", "IOT_", "LOCALSTACK_", "MINISTACK_", "SFTP_")
_FOREIGN_SUFFIX = "_PROXY"  # the child connects to nothing outside this machine
_FOREIGN = ("EDGE_PORT", "PERSIST_STATE", "S3_PERSIST", "STATE_DIR", "USE_SSL")


class EmbeddedAwsError(Exception):
    """Raised if the embedded AWS cannot be started; the message is one line for the operator."""


class _PortTakenError(EmbeddedAwsError):
    """Another process listens on the port."""


class EmbeddedAws:
    """MiniStack, running for the duration of the `with` block.

    Args:
        port: port to listen on at 127.0.0.1; a free port if not given.
        timeout: seconds to wait for the first answer.
    """

    def __init__(self, port: int | None = None, *, timeout: float = START_TIMEOUT) -> None:
        self._wanted_port = port
        self._timeout = timeout
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    @property
    def endpoint_url(self) -> str:
        """URL of the emulator, for `AWS_ENDPOINT_URL`.

        Raises:
            EmbeddedAwsError: the embedded AWS is not running.
        """
        if self._port is None:
            raise EmbeddedAwsError("the embedded AWS is not running")
        return f"http://{HOST}:{self._port}"

    @property
    def pid(self) -> int:
        """Process id of the child.

        Raises:
            EmbeddedAwsError: the embedded AWS is not running.
        """
        if self._process is None:
            raise EmbeddedAwsError("the embedded AWS is not running")
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the child and wait until it answers.

        Raises:
            EmbeddedAwsError: MiniStack is not installed, the port is in use, or the child did not
                answer in time.
        """
        if importlib.util.find_spec("ministack") is None:
            raise EmbeddedAwsError(
                "the embedded AWS is not installed: pip install 'user-worker[embedded]'"
            )
        for _ in range(_PORT_ATTEMPTS - 1 if self._wanted_port is None else 0):
            # another process may take the port between our check and the child's start
            with contextlib.suppress(_PortTakenError):
                self._start_on(free_port())
                return
        self._start_on(self._wanted_port or free_port())

    def stop(self) -> None:
        """Stop the child and its processes; do nothing if it is not running."""
        process, self._process, self._port = self._process, None, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if self._directory is not None:
            self._directory.cleanup()

    def _start_on(self, port: int) -> None:
        if _is_open(port):
            raise _PortTakenError(f"port {port} of {HOST} is in use")
        self._directory = tempfile.TemporaryDirectory(
            prefix="user-worker-aws-", ignore_cleanup_errors=True
        )
        directory = Path(self._directory.name)
        with (directory / _LOG).open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own file
                [sys.executable, "-P", __file__],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(port, directory),
                cwd=directory,
                # Ctrl-C must reach only our process, which needs its AWS for a clean end
                start_new_session=True,
            )
        try:
            self._wait_until_it_answers(self._process, port, directory)
        except BaseException:
            self.stop()
            raise
        self._port = port

    def _wait_until_it_answers(
        self, process: subprocess.Popen[bytes], port: int, directory: Path
    ) -> None:
        deadline = time.monotonic() + self._timeout
        while not _answers(port, directory):
            if process.poll() is not None:
                last = _last_lines(directory)
                if "in use" in last:
                    raise _PortTakenError(f"port {port} of {HOST} is in use")
                code = process.returncode
                raise EmbeddedAwsError(f"the embedded AWS ended with exit code {code}: {last}")
            if time.monotonic() > deadline:
                raise EmbeddedAwsError(
                    f"the embedded AWS did not answer within {self._timeout:g} s: "
                    f"{_last_lines(directory)}"
                )
            time.sleep(_POLL_INTERVAL)


def _last_lines(directory: Path) -> str:
    text = (directory / _LOG).read_text(errors="replace")
    return " | ".join(text.split("\n")[-_LAST_LINES - 1 :]).strip(" |") or "no output"


def _environment(port: int, directory: Path) -> dict[str, str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in _FOREIGN
        and not name.startswith(_FOREIGN_PREFIXES)
        and not name.upper().endswith(_FOREIGN_SUFFIX)
    }
    return inherited | {
        "BIND_HOST": HOST,
        "GATEWAY_PORT": str(port),
        "MINISTACK_HOST": HOST,  # in queue URLs
        "MINISTACK_EDITION": directory.name,  # distinguishes our child from other emulators
        "SERVICES": "sqs,sns,dynamodb",
        # its listeners for other services use ports of their own, open on all interfaces
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": f"unix://{directory}/none",  # otherwise it removes others' containers
        "LOG_LEVEL": "WARNING",
        "TMPDIR": str(directory),
    }


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _answers(port: int, directory: Path) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=1)
    try:
        connection.request("GET", "/_ministack/health")
        # another emulator may have taken the port meanwhile
        health: dict[str, object] = json.load(connection.getresponse())
        return health.get("edition") == directory.name
    except (OSError, ValueError, AttributeError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end_with_parent(directory: str) -> None:
    """Block until standard input ends, then kill this process and all processes it started.

    There is no state to save, so a clean shutdown is not needed.
    """
    while os.read(sys.stdin.fileno(), 1):
        pass
    shutil.rmtree(directory, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def _main() -> None:
    threading.Thread(target=_end_with_parent, args=(os.environ["TMPDIR"],), daemon=True).start()
    runpy.run_module("ministack", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
