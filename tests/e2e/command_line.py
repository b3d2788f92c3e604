"""The command line as a process of its own, on resources of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import ResourceNames

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "worker.cli"]


@dataclass(frozen=True, slots=True)
class Done:
    """A command line that has ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Runs `user-worker` with the variables in `environment` beside the test's own."""

    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def on(cls, names: ResourceNames) -> CommandLine:
        """Use these resources."""
        return cls(
            {
                "USER_WORKER_TABLE": names.table,
                "USER_WORKER_COMMAND_QUEUE": names.command_queue,
                "USER_WORKER_DEAD_LETTER_QUEUE": names.dead_letter_queue,
                "USER_WORKER_EVENTS_TOPIC": names.events_topic,
            }
        )

    def run(self, *words: str, text: str | None = None, **variables: str) -> Done:
        """Run a command line to its end; an empty variable is taken away."""
        done = subprocess.run(
            [*PROGRAM, *words],
            cwd=ROOT,
            env=self._env(variables),
            input=text,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    @contextlib.contextmanager
    def running(self, *words: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
        """Run one while the block does; what is left of it is killed with all it started."""
        process = subprocess.Popen(
            [*PROGRAM, *words],
            cwd=ROOT,
            env=self._env(variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def _env(self, variables: Mapping[str, str]) -> dict[str, str]:
        merged = {**os.environ, **self.environment, **variables}
        return {name: value for name, value in merged.items() if value}
