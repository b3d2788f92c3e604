"""A Celery worker as a child process: started, awaited, stopped, and never left behind."""

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
"""Seconds for a warm shutdown; after that it is killed with all that it started."""


class WorkerProcess:
    """A worker that runs while the `with` block does, its output going to a file."""

    def __init__(self, celery_arguments: Sequence[str], log: Path) -> None:
        """Take what follows `celery` on its command line."""
        self._arguments = celery_arguments
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = -1

    def __enter__(self) -> Self:
        """Start it; it is not ready yet."""
        self._ready, writer = os.pipe()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "cli.child", str(writer), *self._arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[writer],
                start_new_session=True,
            )
        os.close(writer)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id, which is also that of its group."""
        assert self._process is not None
        return self._process.pid

    def exit_code(self) -> int | None:
        """Give the code it ended with, `None` while it runs."""
        assert self._process is not None
        return self._process.poll()

    def wait_until_ready(self, timeout: float) -> bool:
        """Wait until it takes commands; `False` if it ended, or took more than `timeout` s."""
        readable, _, _ = select.select([self._ready], [], [], timeout)
        return bool(readable) and os.read(self._ready, 1) != b""

    def stop(self) -> None:
        """Let it finish the batches in hand, then end it and whatever it started."""
        process = self._process
        if process is None:
            return
        self._process = None
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT)
        _kill_group(process.pid)
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
        os.close(self._ready)

    def last_lines(self, count: int = 12) -> list[str]:
        """Give the end of its log."""
        return self.log.read_text(errors="replace").splitlines()[-count:]


def _kill_group(group: int) -> None:
    """End what is left of a process group; children may outlive a leader that was killed."""
    deadline = time.monotonic() + 1
    with contextlib.suppress(ProcessLookupError, PermissionError):
        while time.monotonic() < deadline:
            os.killpg(group, signal.SIGKILL)
            time.sleep(0.01)
