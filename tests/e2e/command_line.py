"""Run the command line on its own resources; in this process where possible, for speed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from cli.app import run
from tests.conftest import ResourceNames
from tests.emitted import check_captured

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "cli"]


@dataclass(frozen=True, slots=True)
class Done:
    """Result of a command line that has ended."""

    code: int
    out: str
    err: str

    def __post_init__(self) -> None:
        """Check that the output contains no credential."""
        check_captured(self.out, self.err)


def complaint(done: Done) -> str:
    """Return the one line that says what went wrong."""
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.err
    return lines[0]


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Runs `user-worker` with `environment` added to the variables of the test."""

    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def on(cls, names: ResourceNames, endpoint: str) -> CommandLine:
        """Use these resources at this AWS endpoint."""
        return cls(
            {
                "AWS_ENDPOINT_URL": endpoint,
                "USER_WORKER_TABLE": names.table,
                "USER_WORKER_COMMAND_QUEUE": names.command_queue,
                "USER_WORKER_DEAD_LETTER_QUEUE": names.dead_letter_queue,
                "USER_WORKER_QUARANTINE_QUEUE": names.quarantine_queue,
                "USER_WORKER_EVENTS_TOPIC": names.events_topic,
                "USER_WORKER_PERSONAL_TOPIC": names.personal_topic,
            }
        )

    def run(self, *words: str, text: str = "", **variables: str) -> Done:
        """Run a command line to its end, in this process. An empty variable is removed."""
        out, err = io.StringIO(), io.StringIO()
        standard_input = io.TextIOWrapper(io.BytesIO(text.encode()))
        with (
            mock.patch.dict(os.environ, self._env(variables), clear=True),
            mock.patch.object(sys, "stdin", standard_input),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = run(words)
        return Done(code, out.getvalue(), err.getvalue())

    def waiting(self) -> int:
        """Return the number of commands that wait on the only command queue."""
        (depths,) = json.loads(self.run("status", "--json").out)["command_queues"].values()
        visible: int = depths["visible"]
        return visible

    def start(self, *words: str, **variables: str) -> Done:
        """Run a command line to its end, in its own process."""
        with self.running(*words, **variables) as process:
            out, err = process.communicate(timeout=50)
        assert "Traceback" not in err, err
        return Done(process.returncode, out, err)

    @contextlib.contextmanager
    def running(self, *words: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
        """Run a command line while the block runs; then kill what is left of its process group."""
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
        # The output must not depend on the width of the terminal that runs the tests.
        merged = {**os.environ, "COLUMNS": "", **self.environment, **variables}
        return {name: value for name, value in merged.items() if value}
