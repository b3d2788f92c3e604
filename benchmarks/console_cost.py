"""Measure the processor time that the web console costs: of a worker, and of its own process.

Run it with `python -m benchmarks.console_cost`.

One worker processes a steady load. Three states take turns: no console runs; a console runs and
no page is open; its overview and its live events are open. An open page is a client that requests
what the page's script requests, as often. The worker serves health and metrics in all states.
"""

from __future__ import annotations

import http.client
import os
import re
import socket
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

import boto3

from benchmarks.arguments import BenchmarkError, OneLineParser, errors_in_one_line, whole_number
from benchmarks.processes import ProcessGroup
from benchmarks.workload import as_cloud_event, register
from operations.embedded_aws import EmbeddedAws

HERE: Final = Path(__file__).parents[1]
HOST: Final = "127.0.0.1"
RATE: Final = 20
"""Commands a second."""
CLOSED, IDLE, OPEN = "no console", "console, no page open", "console, one page open"
STATES: Final = (CLOSED, IDLE, OPEN)
PARTS: Final = {"/overview/part": 5.0, "/live/newest": 2.0}
"""Requests of an open overview, with the seconds between two; templates/overview.html has both."""
PERSON: Final = "x-person"
START_SECONDS: Final = 30.0
WARM_SECONDS: Final = 5.0
"""Before each turn: the first requests of a process cost more."""


class Load:
    """Sends registrations at a steady rate, in a thread."""

    def __init__(self, sqs: Any, queue: str) -> None:
        """Send to a queue."""
        self._sqs, self._url = sqs, sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        self.sent = 0

    def run(self, ending: threading.Event) -> None:
        """Send half of the rate every half second, until `ending` is set."""
        due = time.monotonic()
        while not ending.wait(max(0.0, due - time.monotonic())):
            bodies = [as_cloud_event(command) for command in register(RATE // 2)]
            entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)]
            self._sqs.send_message_batch(QueueUrl=self._url, Entries=entries)
            self.sent += len(entries)
            due += 0.5

    def waiting(self) -> int:
        """Return the number of messages that are not processed yet."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)


class OpenPage:
    """Requests what the script of an open page requests."""

    def __init__(self, port: int) -> None:
        """Open the page of a console on this port."""
        self._port = port
        self.answers: Counter[str] = Counter()
        self.events = 0

    def check(self, seconds: float) -> None:
        """Check that the page has received at least half of what it should have.

        Raises:
            BenchmarkError: it was not open, so nothing was measured.
        """
        for path, every in PARTS.items():
            if self.answers[path] < seconds / every / 2:
                raise BenchmarkError(f"{path} was answered {self.answers[path]} times")
        if self.events < seconds * RATE / 2:
            raise BenchmarkError(f"the page has received {self.events} events")

    def run(self, ending: threading.Event) -> None:
        """Request the parts of the page, and receive events, until `ending` is set."""
        works: list[Callable[[], None]] = [lambda: self._receive(ending)]
        works += [
            lambda path=path, every=every: self._poll(path, every, ending)  # type: ignore[misc]
            for path, every in PARTS.items()
        ]
        threads = [threading.Thread(target=work) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _poll(self, path: str, every: float, ending: threading.Event) -> None:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=30)
        while not ending.is_set():
            try:
                connection.request("GET", path, headers={PERSON: "benchmark"})
                answer = connection.getresponse()
            except ConnectionError:  # it was idle; a browser connects again, too
                connection.close()
                continue
            answer.read()
            self.answers[path] += answer.status == http.HTTPStatus.OK
            ending.wait(every)
        connection.close()

    def _receive(self, ending: threading.Event) -> None:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=30)
        connection.request("GET", "/live/stream", headers={PERSON: "benchmark"})
        stream = connection.getresponse()
        while not ending.is_set():
            self.events += stream.readline().startswith(b"id:")
        connection.close()


@contextmanager
def running(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run work in a thread for the duration of the block."""
    ending = threading.Event()
    thread = threading.Thread(target=work, args=(ending,))
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def measure(seconds: int, rounds: int) -> list[tuple[str, float, float | None]]:
    """Return the states in turns, each with the processor time of the worker and of the console.

    Both in seconds per second, which is the part of a core.
    """
    results: list[tuple[str, float, float | None]] = []
    with ExitStack() as stack:
        aws = stack.enter_context(EmbeddedAws())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = environment_of(aws.endpoint_url)
        program = [sys.executable, "-m", "cli"]
        provision = ProcessGroup([[*program, "provision"]], environment, folder / "provision")
        wait(lambda: not provision.alive(), provision.log)
        command = [*program, "run", "--pool", "threads", "--concurrency", "4"]
        worker = ProcessGroup([command], environment, folder / "worker")
        stack.callback(worker.stop)
        wait(lambda: "ready" in worker.log.read_text(), worker.log)
        sqs = boto3.client(
            "sqs",
            endpoint_url=aws.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - of the emulator
        )
        load = Load(sqs, "user-commands")
        stack.enter_context(running(load.run))
        for _ in range(rounds):
            for state in STATES:
                results.append((state, *turn(state, seconds, worker, environment, folder)))
                print(f"{state}: {results[-1][1:]}", file=sys.stderr)
        if (left := load.waiting()) > 5 * RATE:
            raise BenchmarkError(f"the worker could not follow: {left} commands wait")
    return results


def turn(
    state: str, seconds: int, worker: ProcessGroup, environment: dict[str, str], folder: Path
) -> tuple[float, float | None]:
    """Measure one state for some seconds."""
    with ExitStack() as stack:
        console = page = None
        if state != CLOSED:
            command = [sys.executable, "-m", "cli", "console", "--port", "0"]
            command += ["--proxy-header", PERSON, "--public-host", f"{HOST}:1", "--workers", HOST]
            log = folder / "console"
            log.unlink(missing_ok=True)
            console = ProcessGroup([command], environment, log)
            stack.callback(console.stop)
            found = wait(lambda: re.search(r"console: http://\S+:(\d+)/", log.read_text()), log)
            if state == OPEN:
                page = OpenPage(int(found[1]))
                stack.enter_context(running(page.run))
        time.sleep(min(WARM_SECONDS, seconds))
        before = worker.run_seconds(), 0.0 if console is None else console.run_seconds()
        started = time.monotonic()
        time.sleep(seconds)
        passed = time.monotonic() - started
        after = worker.run_seconds(), 0.0 if console is None else console.run_seconds()
    if page is not None:
        page.check(passed)
    spent, own = ((end - start) / passed for start, end in zip(before, after, strict=True))
    return spent, None if console is None else own


def environment_of(endpoint: str) -> dict[str, str]:
    """Return the settings of worker and console."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "OTEL_", "USER_"))}
    return kept | {
        "PYTHONPATH": str(HERE),
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "USER_WORKER_ENV": "test",
        "USER_WORKER_HEALTH_PORT": str(free_port()),
        "OTEL_METRICS_EXPORTER": "prometheus",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(free_port()),
    }


def free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server((HOST, 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def wait(look: Callable[[], Any], log: Path) -> Any:
    """Return the first true result of `look`.

    Raises:
        BenchmarkError: it was false for too long.
    """
    deadline = time.monotonic() + START_SECONDS
    while not (found := look()):
        if time.monotonic() > deadline:
            raise BenchmarkError("a process did not start", log.read_text().splitlines()[-10:])
        time.sleep(0.05)
    return found


def main() -> None:
    """Measure, and print a table."""
    parser = OneLineParser(prog="python -m benchmarks.console_cost", description=__doc__)
    parser.add_argument("--rounds", type=whole_number(1), default=3, help="turns of each state")
    parser.add_argument("--seconds", type=whole_number(2), default=60, help="length of a turn")
    given = parser.parse_args()
    with errors_in_one_line(parser.prog):
        results = measure(given.seconds, given.rounds)
    worker: defaultdict[str, list[float]] = defaultdict(list)
    own: defaultdict[str, list[float]] = defaultdict(list)
    for state, spent, of_console in results:
        worker[state].append(100 * spent)
        if of_console is not None:
            own[state].append(100 * of_console)
    without = median(worker[CLOSED])
    print(f"one worker at {RATE} commands a second; percent of a core, medians of {given.rounds}")
    print("| state | worker | more than without a console | console |")
    print("|---|--:|--:|--:|")
    for state in STATES:
        more = "" if state == CLOSED else f"{median(worker[state]) - without:+.2f}"
        console = f"{median(own[state]):.2f}" if own[state] else ""
        print(f"| {state} | {median(worker[state]):.2f} | {more} | {console} |")


if __name__ == "__main__":
    main()
