"""A real `celery worker` process with the test application, and the queues that it uses."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import boto3.session

from tests.conftest import ResourceNames
from tests.e2e.forked import POSSIBLE, ForkedProcess, fork_server

ROOT = Path(__file__).parents[2]
T = TypeVar("T")
FORKED: Final = "forked"
FRESH: Final = "fresh"


def eventually(look: Callable[[], T], seconds: float = 30.0, what: str = "") -> T:
    """Call `look` until its result is true; return the result.

    The default timeout allows for a slow machine. Pass another one only if the time is what is
    tested.

    Raises:
        AssertionError: The result is not true within `seconds`.
    """
    began = time.monotonic()
    while not (seen := look()):
        waited = time.monotonic() - began
        assert waited < seconds, f"not within {seconds} s: {what or look} (saw {seen!r})"
        # A look is often a call, which costs two processes 5 ms each, so long waits look less
        # often.
        time.sleep(min(0.02 + waited / 10, 0.2))
    return seen


def freeze(pid: int) -> None:
    """Send SIGSTOP to a process; return when all its threads have stopped.

    The kernel wakes one thread, which stops the others. On a busy machine the others can make
    several calls in the meantime. Without /proc, this function does not wait.
    """
    os.kill(pid, signal.SIGSTOP)
    if Path("/proc/self/task").exists():
        eventually(lambda: _states(pid) == {"T"}, what=f"process {pid} stopped")


def _states(pid: int) -> set[str]:
    """Return the states of all threads of a process, as `ps` abbreviates them."""
    files = Path(f"/proc/{pid}/task").glob("*/stat")
    # the state is the first field after the name, which is in parentheses
    return {file.read_text().rpartition(")")[2].split()[0] for file in files}


@dataclass(slots=True)
class Queues:
    """A command queue, its dead-letter queue and its quarantine queue, made for one test."""

    names: ResourceNames
    sqs: Any
    url: str = ""
    dead_letter_url: str = ""
    quarantine_url: str = ""

    @classmethod
    def create(cls, names: ResourceNames, endpoint: str, visibility_timeout: int) -> Queues:
        """Create the queues; as FIFO queues if their names say so."""
        sqs: Any = boto3.session.Session().client("sqs", endpoint_url=endpoint)
        queues = cls(names, sqs)
        fifo = {"FifoQueue": "true"} if names.command_queue.endswith(".fifo") else {}
        attributes = {"VisibilityTimeout": str(visibility_timeout), **fifo}
        queues.url = sqs.create_queue(QueueName=names.command_queue, Attributes=attributes)[
            "QueueUrl"
        ]
        queues.dead_letter_url, queues.quarantine_url = (
            sqs.create_queue(QueueName=name, Attributes=fifo)["QueueUrl"]
            for name in (names.dead_letter_queue, names.quarantine_queue)
        )
        return queues

    def delete(self) -> None:
        """Delete the queues."""
        for url in (self.url, self.dead_letter_url, self.quarantine_url):
            self.sqs.delete_queue(QueueUrl=url)

    def send(self, *bodies: str | dict[str, Any], group: str | None = None) -> list[str]:
        """Send bodies in order, ten in a call; return the message ids."""
        texts = [body if isinstance(body, str) else json.dumps(body) for body in bodies]
        ids: list[str] = []
        for start in range(0, len(texts), 10):
            entries = [
                {"Id": str(i), "MessageBody": text, **self._fifo(group, start + i)}
                for i, text in enumerate(texts[start : start + 10])
            ]
            answer = self.sqs.send_message_batch(QueueUrl=self.url, Entries=entries)
            assert not answer.get("Failed")
            ids += [row["MessageId"] for row in answer["Successful"]]
        return ids

    @staticmethod
    def _fifo(group: str | None, number: int) -> dict[str, str]:
        if group is None:
            return {}
        unique = f"{group}-{number}-{time.monotonic_ns()}"
        return {"MessageGroupId": group, "MessageDeduplicationId": unique}

    def depth(self) -> tuple[int, int]:
        """Count the visible and the invisible messages."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        visible, invisible = (int(answer["Attributes"][name]) for name in names)
        return visible, invisible

    def empty(self) -> bool:
        """Return True if the queue has no messages, visible or invisible."""
        return self.depth() == (0, 0)

    def dead_letters(self, count: int, seconds: float = 30.0) -> list[dict[str, Any]]:
        """Receive `count` messages from the dead-letter queue, or those that arrive in time.

        They are deleted, so that a later test does not find them. The queue is polled at least
        once; with `seconds=0`, for the messages that are there now.
        """
        return self._taken(self.dead_letter_url, count, seconds)

    def originals(self, count: int, seconds: float = 30.0) -> list[dict[str, Any]]:
        """Receive `count` messages from the quarantine queue, like `dead_letters`."""
        return self._taken(self.quarantine_url, count, seconds)

    def _taken(self, url: str, count: int, seconds: float) -> list[dict[str, Any]]:
        letters: list[dict[str, Any]] = []
        deadline = time.monotonic() + seconds
        while True:
            taken = self.sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=min(1, int(seconds)),
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
            ).get("Messages", [])
            for letter in taken:
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=letter["ReceiptHandle"])
            letters += taken
            if len(letters) >= count or time.monotonic() >= deadline:
                return letters


@dataclass(slots=True)
class WorkerProcess:
    """A running worker, in its own process group."""

    process: subprocess.Popen[bytes] | ForkedProcess
    record_file: Path
    log_file: Path
    stopped_after: float = field(default=0.0)

    @property
    def log(self) -> str:
        """Return everything that it has written so far."""
        return self.log_file.read_text(errors="replace")

    def records(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return what the handler recorded: a line when a batch starts and one when it ends."""
        if not self.record_file.exists():
            return []
        lines = self.record_file.read_text().splitlines(keepends=True)
        rows = [json.loads(line) for line in lines if line.endswith("\n")]
        return [row for row in rows if event in (None, row["event"])]

    def handled(self, event: str = "end") -> list[str]:
        """Return the ids of the messages that ended (or started), in order."""
        return [m["message_id"] for row in self.records(event) for m in row["messages"]]

    def ready(self) -> WorkerProcess:
        """Wait until it has started; its first poll may still be to come."""
        eventually(lambda: "ready." in self.log or self.process.poll() is not None, 40, "ready")
        assert self.process.poll() is None, self.log
        return self

    def send_signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the parent, or to the whole process group."""
        (os.killpg if group else os.kill)(self.process.pid, number)

    def stop(self, number: int = signal.SIGTERM, *, group: bool = False) -> int:
        """Stop the worker, wait until it ends, and return its exit code."""
        began = time.monotonic()
        self.send_signal(number, group=group)
        code = self.process.wait(30)
        self.stopped_after = time.monotonic() - began
        return code


def share(workers: Sequence[Callable[[], int]], scene: Callable[[], None]) -> None:
    """Repeat a scenario until the count of each worker has grown. Every run must succeed.

    A queue may deliver its messages to either of two workers.
    """
    for _ in range(10):
        before = [count() for count in workers]
        scene()
        after = [count() for count in workers]
        if all(n > m for n, m in zip(after, before, strict=True)):
            return
    raise AssertionError("one worker got everything, ten times")


@contextlib.contextmanager
def worker(
    names: ResourceNames,
    endpoint: str,
    folder: Path,
    options: Sequence[str] = ("-P", "solo"),
    *,
    app: str = "tests.e2e.batch_app",
    start: str = FORKED,
    **environment: str,
) -> Iterator[WorkerProcess]:
    """Run a worker while the block runs, then kill what is left of it.

    With `FORKED`, the worker is forked, where possible, from a process that has imported its
    libraries. With `FRESH`, it imports them itself, like a user's worker.
    """
    mark = f"{len(list(folder.iterdir()))}"
    record_file, log_file = folder / f"record-{mark}", folder / f"log-{mark}"
    env = os.environ | {
        "AWS_ENDPOINT_URL": endpoint,
        "USER_WORKER_COMMAND_QUEUE": names.command_queue,
        "USER_WORKER_DEAD_LETTER_QUEUE": names.dead_letter_queue,
        "USER_WORKER_QUARANTINE_QUEUE": names.quarantine_queue,
        "RECORD_FILE": str(record_file),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "USER_WORKER_CREATE_RESOURCES": "false",
        **environment,
    }
    arguments = ["-A", app, "worker", "-l", "INFO", *options]
    with log_file.open("wb") as log:
        process = start_celery(arguments, env, log, start)
    try:
        yield WorkerProcess(process, record_file, log_file)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def start_celery(
    arguments: Sequence[str], env: Mapping[str, str], log: IO[bytes], start: str
) -> subprocess.Popen[bytes] | ForkedProcess:
    """Run Celery's command line in a session of its own; see `worker` for `start`."""
    if start == FORKED and POSSIBLE:
        return fork_server().start("celery", arguments, env, log)
    return subprocess.Popen(
        [sys.executable, "-m", "celery", *arguments],
        env=env,
        cwd=ROOT,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
