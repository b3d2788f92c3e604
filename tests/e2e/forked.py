"""Starts workers without the import of their libraries, which is most of what a start costs.

A worker spends 0.7 s of CPU on importing Celery, botocore, pydantic and the rest, and a run of all
tests starts a hundred and fifty. So each test process has, from its first worker on, a server that
has imported these and forks: what runs then is the program as it stands, which
test_forked.py holds to what a plain start gives. On Linux only; elsewhere, and for tests of the
start itself, a program is started as a user would.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
POSSIBLE = hasattr(os, "pidfd_open")
START_TIMEOUT = 40.0


class ForkedProcess:
    """A program that runs; has what the tests need of `subprocess.Popen`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.settimeout(START_TIMEOUT)
        self.pid = self._hear()
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Give the exit code, or minus the signal, if it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float) -> int:
        """Wait until it ends; give the exit code, or minus the signal.

        Raises:
            subprocess.TimeoutExpired: it has not, in so many seconds.
        """
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            self.returncode = self._hear()
            self._connection.close()
        return self.returncode

    def _hear(self) -> int:
        told = self._connection.recv(16)
        assert told, "the fork server has ended"
        return int(told)


class ForkServer:
    """A running `tests.e2e.fork_server`.

    It ends when the process that has this does, however that ends, with all that it started.
    """

    def __init__(self, preloaded: Sequence[str] = ("tests.e2e.preloaded",)) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.fork_server", *preloaded],
                env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
                cwd=ROOT,
                stdin=theirs.fileno(),
                start_new_session=True,
            )

    def start(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        output: IO[bytes],
    ) -> ForkedProcess:
        """Run `python -m <module>` in a new session; both standard outputs go to a file."""
        order = {
            "module": module,
            "arguments": list(arguments),
            "environment": dict(environment),
            "folder": str(ROOT),
        }
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            files = [output.fileno(), theirs.fileno()]
            socket.send_fds(self._orders, [json.dumps(order).encode()], files)
        return ForkedProcess(ours)

    def stop(self) -> None:
        """Stop it; what it started and still runs is killed."""
        self._orders.close()
        self._process.wait(10)


@functools.cache
def fork_server() -> ForkServer:
    """Give the server of this test process."""
    server = ForkServer()
    atexit.register(server.stop)
    return server
