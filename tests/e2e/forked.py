"""Start workers without importing their libraries, which is most of the cost of a start.

A worker spends 0.7 s of CPU on importing Celery, botocore, pydantic and the rest, and a run of all
tests starts 150 workers. Therefore each test process starts a server with its first worker. The
server has imported these modules and forks for each worker. The fork runs the unchanged program;
test_forked.py checks that it behaves as after a plain start. This works on Linux only. On other
systems, and in tests of the start itself, a program is started as a user would start it.
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
    """A running program, with the part of `subprocess.Popen` that the tests need."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.settimeout(START_TIMEOUT)
        self.pid = self._hear()
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, or minus the signal, if the program has ended; None otherwise."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float) -> int:
        """Wait until the program ends; return the exit code, or minus the signal.

        Raises:
            subprocess.TimeoutExpired: It has not ended in `timeout` seconds.
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

    It ends, with all processes that it started, when the process that owns this object ends for any
    reason.
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
        """Run `python -m <module>` in a new session; write both standard outputs to a file."""
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
        """Stop the server and kill the processes that it started and that still run."""
        self._orders.close()
        self._process.wait(10)


@functools.cache
def fork_server() -> ForkServer:
    """Return the server of this test process."""
    server = ForkServer()
    atexit.register(server.stop)
    return server
