"""One run: provision, start, send and attack, wait until idle, read the results, clean up."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3

from tests.builders import HASH_KEY
from tests.chaos.attacks import Attackers
from tests.chaos.checker import Finding, check
from tests.chaos.fleet import VERSIONS, Worker
from tests.chaos.history import History, read_log
from tests.chaos.queues import Listener, Producer, drain
from tests.chaos.schedule import make_schedule
from tests.chaos.workload import Workload
from tests.e2e.proxy import FaultyProxy
from tests.e2e.system import System
from tests.e2e.worker_process import eventually

VISIBILITY_TIMEOUT = 4
"""Initial visibility timeout of the queues, in seconds."""
FIFO = ".fifo"
RESTED = 3.0
"""Seconds without any message or pointer after which the system counts as idle."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a run. Times are seconds."""

    endpoint: str
    folder: Path
    seed: int
    seconds: float = 300.0
    rate: float = 12.0
    """Commands per second."""
    workers: int = 3
    fifo: bool = False
    """Whether queues and topic are FIFO, with one group per user."""
    patience: float = 300.0
    """Time to wait until idle, after the attacks."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of a run."""

    history: History
    findings: Sequence[Finding]


def run(options: Options, tell: Callable[[str], None]) -> Verdict:
    """Run everything; leave nothing behind but the history in its folder."""
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    with ExitStack() as stack:
        scene = stack.enter_context(_scene(options))
        tell(f"{options.workers} workers are ready; {options.seconds:.0f} s of attacks begin")
        scene.attack()
        tell("nothing is attacked any more; waiting for rest")
        scene.come_to_rest()
        history = scene.look()
    history.save(options.folder)
    return Verdict(history, check(history))


class _Scene:
    """Everything that runs."""

    def __init__(self, options: Options, system: System, stack: ExitStack) -> None:
        self._options = options
        self._system = system
        self._history = History(options.seed, options.fifo)
        self._stop = threading.Event()
        self._sqs = boto3.client("sqs", endpoint_url=options.endpoint)
        name, suffix = system.names.command_queue.removesuffix(FIFO), FIFO if options.fifo else ""
        priority = f"{name}-priority{suffix}"
        self._urls = {"command": system.queues.url, "priority": self._like_it(priority)}
        stack.callback(self._sqs.delete_queue, QueueUrl=self._urls["priority"])
        self._listener = Listener(options.endpoint, system.events_url)
        stack.enter_context(self._listener)
        self._mailer = Listener(options.endpoint, system.personal_url)
        stack.enter_context(self._mailer)
        self._workers = [self._worker(number, priority, stack) for number in range(options.workers)]
        self._producer = Producer(
            options.endpoint,
            self._urls,
            Workload(options.seed, datetime.now(UTC)).plan(options.seconds, options.rate),
        )
        self._attackers = Attackers(
            make_schedule(options.seed, options.seconds, options.workers, len(VERSIONS)),
            self._workers,
            self._set_visibility,
            self._stop,
        )

    def _like_it(self, name: str) -> str:
        """Create a queue with the attributes of the command queue; return its URL."""
        names: Any = ["VisibilityTimeout", "RedrivePolicy", "MessageRetentionPeriod"]
        names += ["FifoQueue"] if name.endswith(FIFO) else []
        there = self._sqs.get_queue_attributes(
            QueueUrl=self._system.queues.url, AttributeNames=names
        )
        made = self._sqs.create_queue(QueueName=name, Attributes=there["Attributes"])
        return made["QueueUrl"]

    def _worker(self, number: int, priority: str, stack: ExitStack) -> Worker:
        names = self._system.names
        environment = os.environ | {
            "PYTHONUNBUFFERED": "1",
            "USER_WORKER_ENV": "test",
            "USER_WORKER_HASH_KEYS": HASH_KEY,
            "USER_WORKER_CREATE_RESOURCES": "false",
            "USER_WORKER_TABLE": names.table,
            "USER_WORKER_EVENTS_TOPIC": names.events_topic,
            "USER_WORKER_PERSONAL_TOPIC": names.personal_topic,
            "USER_WORKER_COMMAND_QUEUE": names.command_queue,
            "USER_WORKER_DEAD_LETTER_QUEUE": names.dead_letter_queue,
            "USER_WORKER_QUARANTINE_QUEUE": names.quarantine_queue,
        }
        proxy = stack.enter_context(FaultyProxy(self._options.endpoint))
        worker = Worker(number, environment, priority, proxy, self._options.folder)
        stack.callback(worker.sweep)
        return worker

    def start(self) -> None:
        """Start the workers, each in its first version, and wait until all are ready."""
        for worker in self._workers:
            worker.start(self._attackers.version(worker))
        for worker in self._workers:
            worker.ready()

    def attack(self) -> None:
        """Send and attack until the time is over."""
        self._history.began = time.time()
        producing = threading.Thread(target=self._producer.run, args=(self._stop,))
        producing.start()
        self._attackers.begin()
        try:
            self._attackers.end(self._options.seconds + 60)
            producing.join(self._options.seconds + 30)
        finally:
            self._stop.set()
            self._attackers.end(60)
            producing.join(30)
        for failure in (*self._attackers.failures, *self._producer.failures):
            raise failure
        self._history.attacked_until = time.time()

    def come_to_rest(self) -> None:
        """Stop the attacks and wait until the workers have finished all work."""
        self._set_visibility(VISIBILITY_TIMEOUT)
        for worker in self._workers:
            worker.proxy.clear()
            self._attackers.supervise(worker)
        # At least one worker must serve the priority queue, whatever versions were drawn.
        if not any(worker.urgent for worker in self._workers):
            self._workers[0].terminate()
            self._workers[0].start(VERSIONS[0])
        with contextlib.suppress(AssertionError):  # the checker reports what is left
            eventually(self._rested, self._options.patience, "rest")
        self._history.quiet_at = time.time()
        for worker in self._workers:
            self._history.slow_ends += worker.terminate() is None

    def _rested(self) -> bool:
        """Return True if nothing was left anywhere for some time."""
        for worker in self._workers:
            self._attackers.supervise(worker)
        until = time.monotonic() + RESTED
        while self._empty():
            if time.monotonic() >= until:
                return True
            time.sleep(0.2)
        time.sleep(0.5)
        return False

    def _empty(self) -> bool:
        return not any(self._waiting().values()) and not self._system.outbox.status().pending

    def _waiting(self) -> dict[str, int]:
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        return {
            queue: sum(
                int(count)
                for count in self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)[
                    "Attributes"
                ].values()
            )
            for queue, url in self._urls.items()
        }

    def _set_visibility(self, seconds: int) -> None:
        for url in self._urls.values():
            self._sqs.set_queue_attributes(
                QueueUrl=url, Attributes={"VisibilityTimeout": str(seconds)}
            )

    def look(self) -> History:
        """Read all results after the workers have ended."""
        history = self._history
        history.waiting = self._waiting()
        dynamodb = boto3.client("dynamodb", endpoint_url=self._options.endpoint)
        pages = dynamodb.get_paginator("scan").paginate(
            TableName=self._system.names.table, ConsistentRead=True
        )
        history.items = [dict(item) for page in pages for item in page["Items"]]
        history.dead_letters = drain(self._sqs, self._system.queues.dead_letter_url)
        history.published = [json.loads(body) for body in self._listener.rest()]
        history.published_complete = [json.loads(body) for body in self._mailer.rest()]
        history.sent = self._producer.sent()
        history.faults = self._attackers.faults
        history.slow_ends += self._attackers.slow_ends
        for worker in self._workers:
            history.log += read_log(worker.number, worker.logs)
        return history


@contextlib.contextmanager
def _scene(options: Options) -> Iterator[_Scene]:
    """Create all resources, and delete them in any case."""
    system = System.create(
        options.endpoint,
        options.folder,
        fifo=options.fifo,
        visibility_timeout=VISIBILITY_TIMEOUT,
    )
    with ExitStack() as stack:
        stack.callback(system.delete)
        scene = _Scene(options, system, stack)
        scene.start()
        yield scene
