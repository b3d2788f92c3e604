"""Run a Celery worker as a child process, and never leave it behind."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

STOP_TIMEOUT = 12.0
"""Seconds for a warm shutdown; then the worker and all its processes are killed."""


class WorkerProcess:
    """A worker that runs until the end of the `with` block; its output goes to a file."""

    def __init__(self, celery_arguments: Sequence[str], log: Path) -> None:
        """Start the worker, without waiting until it is ready.

        The arguments follow `celery` on its command line.
        """
        self.log = log
        self._ready, writer = os.pipe()
        with log.open("ab") as stream:
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "cli.child", str(writer), *celery_arguments],
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=subprocess.STDOUT,
                pass_fds=[writer],
                start_new_session=True,
            )
        os.close(writer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until the worker has finished its current batches, then end all its processes."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_TIMEOUT)
        _kill_group(self.process.pid)
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        os.close(self._ready)

    def wait_until_ready(self, timeout: float) -> bool:
        """Wait until the worker is ready; return False if it ended, or after `timeout` seconds."""
        readable, _, _ = select.select([self._ready], [], [], timeout)
        return bool(readable) and os.read(self._ready, 1) != b""

    def last_lines(self, count: int = 12) -> list[str]:
        """Return the last lines of the log."""
        return self.log.read_text(errors="replace").splitlines()[-count:]


def _kill_group(group: int) -> None:
    """Kill the remaining processes of a group; children may outlive a leader that was killed."""
    deadline = time.monotonic() + 1
    with contextlib.suppress(ProcessLookupError, PermissionError):
        while time.monotonic() < deadline:
            os.killpg(group, signal.SIGKILL)
            time.sleep(0.01)
