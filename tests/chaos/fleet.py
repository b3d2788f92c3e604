"""Real workers that are killed and started again, each behind its own proxy."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.proxy import FaultyProxy
from tests.e2e.worker_process import eventually

ROOT = Path(__file__).parents[2]
PATIENCE = 25.0
"""Seconds that a worker has to end after SIGTERM: longer than it waits for AWS."""


@dataclass(frozen=True, slots=True)
class Version:
    """Options for starting a worker: Celery's options, and settings without their prefix."""

    options: tuple[str, ...]
    settings: Mapping[str, str]
    urgent: bool = True
    """Whether it serves the priority queue too."""


def _version(*options: str, urgent: bool = True, **settings: str) -> Version:
    return Version(options, settings, urgent)


VERSIONS = (
    _version(
        "-P", "prefork", "-c", "2",
        VISIBILITY_TIMEOUT="4", RELAY_INTERVAL="1", RELAY_AGE="2", REGISTRATION_GRACE="2",
        BATCH_WAIT="200",
    ),
    _version(
        "-P", "threads", "-c", "4", urgent=False,
        VISIBILITY_TIMEOUT="2", RELAY_INTERVAL="0.5", RELAY_AGE="0", REGISTRATION_GRACE="4",
    ),
    _version(
        "-P", "prefork", "-c", "1", "--max-tasks-per-child", "15",
        VISIBILITY_TIMEOUT="6", RELAY_INTERVAL="2", RELAY_AGE="5", REGISTRATION_GRACE="0",
        BATCH_WAIT="1500",
    ),
    _version(
        "-P", "threads", "-c", "1",
        VISIBILITY_TIMEOUT="3", RELAY_INTERVAL="0.3", RELAY_AGE="1", REGISTRATION_GRACE="1",
    ),
)  # fmt: skip
"""The queues' own timeout differs, and changes: a worker that renews too late by its own
settings shares its messages with others."""


@dataclass(slots=True)
class Worker:
    """One worker of the fleet: a process group, replaced by another one when it is restarted."""

    number: int
    environment: Mapping[str, str]
    priority_queue: str
    proxy: FaultyProxy
    folder: Path
    starts: int = 0
    logs: list[Path] = field(default_factory=list)
    urgent: bool = False
    """Whether it serves the priority queue."""
    _process: subprocess.Popen[bytes] | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def start(self, version: Version) -> None:
        """Start it in a version of the settings."""
        log = self.folder / f"worker-{self.number}-{self.starts:03}.log"
        settings = dict(version.settings)
        if version.urgent:
            settings["PRIORITY_QUEUE"] = self.priority_queue
        chosen = {f"USER_WORKER_{name}": value for name, value in settings.items()}
        command = [sys.executable, "-m", "celery", "-A", "worker.app", "worker", "-l", "INFO"]
        environment = {**self.environment, **chosen, "AWS_ENDPOINT_URL": self.proxy.url}
        with self._lock, log.open("ab") as output:
            self._process = subprocess.Popen(
                [*command, *version.options],
                env=environment,
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.logs.append(log)
            self.starts += 1
            self.urgent = version.urgent

    def ready(self, seconds: float = 60) -> None:
        """Wait until it receives messages.

        Raises:
            AssertionError: It does not within `seconds`.
        """
        log = self.logs[-1]
        eventually(lambda: b"worker_ready" in log.read_bytes(), seconds, f"{log.name} ready")

    @property
    def alive(self) -> bool:
        """Return True if its process runs."""
        return self._process is not None and _state(self._process.pid) not in ("", "Z")

    def children(self) -> list[int]:
        """Return the process ids of its pool."""
        if self._process is None:
            return []
        pid = self._process.pid
        with contextlib.suppress(OSError):
            return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return []

    def signal(self, number: int, *, group: bool = False) -> None:
        """Signal the process, or its whole group; ignore a process that has ended."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(self._process.pid, number)

    def signal_child(self, pid: int, number: int) -> None:
        """Signal a process of its pool, if it still is one."""
        with self._lock:
            if pid in self.children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    def terminate(self) -> float | None:
        """Terminate it and wait; return the seconds, or None if it did not end."""
        assert self._process is not None
        began = time.monotonic()
        self.signal(signal.SIGTERM)
        deadline = began + PATIENCE
        while self.alive and time.monotonic() < deadline:
            time.sleep(0.05)
        ended = None if self.alive else time.monotonic() - began
        self.sweep()
        return ended

    def sweep(self) -> None:
        """Kill what is left of its process group.

        The parent is reaped only afterwards: while it is a zombie, its process id is not reused.
        """
        with self._lock:
            if self._process is not None:
                self.signal(signal.SIGCONT, group=True)
                self.signal(signal.SIGKILL, group=True)
                self._process.wait(10)
                self._process = None


def _state(pid: int) -> str:
    """Return a process's state as `ps` shows it, or an empty text if it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""
