"""Measure the processor time per command with telemetry off and on.

Run it with `python -m benchmarks.telemetry_cost`.

One process receives, handles and deletes batches of ten registrations; a server in another one
answers for AWS and for the collector. The kinds of telemetry take turns in any order, so that
what else the machine does weighs on all alike. Spans are sent within their kind's turns, a few
hundred at once as in a worker: threads that send would take time from other kinds' turns.

`--before TREE` compares telemetry off with another checkout, in processes that take turns, by the
least time of each.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import multiprocessing
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parents[1]
TRACES = "OTEL_TRACES_EXPORTER"
COLLECTOR = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACED = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp"}
SAMPLED = {**TRACED, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}
TURN = 4
"""Number of batches. With longer turns the machine's state changes between them; with shorter ones,
a kind starts with the code of the others in the processor's caches."""
WARM_TURNS = 5
SEND_EVERY = 6
"""Turns: they create about 450 spans, and the SDK sends 512 at a time."""
NOT_BY_ITSELF = {
    "OTEL_BSP_MAX_QUEUE_SIZE": "100000",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "100000",
    "OTEL_BSP_SCHEDULE_DELAY": "3600000",
    "OTEL_METRIC_EXPORT_INTERVAL": "3600000",
}
KINDS: dict[str, dict[str, str]] = {
    "off": {},
    "metrics, Prometheus": {"OTEL_METRICS_EXPORTER": "prometheus"},
    "metrics, OTLP": {"OTEL_METRICS_EXPORTER": "otlp"},
    "metrics and 1 % of traces, OTLP": {**SAMPLED, "OTEL_TRACES_SAMPLER_ARG": "0.01"},
    "metrics and 10 % of traces, OTLP": {**SAMPLED, "OTEL_TRACES_SAMPLER_ARG": "0.1"},
    "metrics and all traces, OTLP": {**TRACED, "OTEL_TRACES_SAMPLER": "always_on"},
}


def measure(batches: int, kinds: dict[str, dict[str, str]]) -> dict[str, float]:
    """Return each kind's milliseconds of processor time per command, in this process."""
    from worker import logs  # noqa: PLC0415 - of the checkout that is measured

    logs.configure("json", "INFO", os.devnull)
    parts = {name: compose(kind) for name, kind in kinds.items()}
    spent = dict.fromkeys(kinds, 0.0)
    for turn in range(-WARM_TURNS, batches // TURN):
        if turn == 0:
            gc.collect()
            gc.freeze()
            spent = dict.fromkeys(kinds, 0.0)
        for name in sorted(kinds, key=lambda _: random.random()):
            queue, handle, send, _ = parts[name]
            began = time.process_time()
            for _ in range(TURN):
                run(queue, handle)
            if turn % SEND_EVERY == 0:
                send()
            spent[name] += time.process_time() - began
    for name, (*_, stop) in parts.items():
        began = time.process_time()
        stop()  # sending the rest is part of the cost
        spent[name] += time.process_time() - began
    return {name: seconds / (batches * 10) * 1000 for name, seconds in spent.items()}


def compose(kind: dict[str, str]) -> tuple[Any, Any, Any, Any]:
    """Compose a worker, with the telemetry that the variables configure.

    Return its queue, the handler of a batch, the function that sends spans, and the function that
    sends everything and ends telemetry.
    """
    from worker import bootstrap  # noqa: PLC0415 - of the checkout that is measured
    from worker.settings import load_settings  # noqa: PLC0415 - as above

    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        del os.environ[name]
    os.environ.update(
        {TRACES: "none", **NOT_BY_ITSELF, **kind, "OTEL_EXPORTER_PROMETHEUS_PORT": "0"}
    )
    send: Any = lambda: None  # noqa: E731
    stop: Any = send
    telemetry: Any = bootstrap.telemetry
    telemetry.process._made.clear()  # noqa: SLF001 - one a process is the rule
    if kind:
        os.environ[COLLECTOR] = os.environ["AWS_ENDPOINT_URL"]
        telemetry.process._port = None  # noqa: SLF001 - as above
        telemetry.prepare()
        made, port = telemetry.of_process(), telemetry.process._port  # noqa: SLF001 - as above
        if tracer := getattr(made.observer, "_tracer", None):
            send = tracer.span_processor.force_flush

        def send_all() -> None:
            for each in made.stops:
                each()
            if port:
                port.stop()

        stop = send_all

    queue: Any = bootstrap.command_queue_factory("user-commands")
    own: Any = getattr(queue, "_queue", queue)  # the answering server has no queue names
    own._urls["user-commands"] = f"{os.environ['AWS_ENDPOINT_URL']}/0/user-commands"  # noqa: SLF001
    return queue, bootstrap.build(load_settings()).batch.handle, send, stop


def run(queue: Any, handle: Any) -> None:
    """Process one batch."""
    from worker.transport.batching import Batch, as_task_argument  # noqa: PLC0415 - as above

    batch = Batch(1, "user-commands", tuple(queue.receive(10, 0, 60)))
    repr(handle(as_task_argument(batch, fifo=False)))
    queue.delete(batch.receipts)


def spawn(tree: Path, url: str, batches: int, *, all_kinds: bool) -> dict[str, float]:
    """Measure in a separate process."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "USER_"))} | {
        "PYTHONPATH": str(tree),
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
        "USER_WORKER_EVENTS_TOPIC": "arn:aws:sns:us-east-1:000000000000:user-events",
        "USER_WORKER_ENV": "test",
    }
    command = [sys.executable, __file__, "--measure", str(batches)]
    command += ["--all-kinds"] if all_kinds else []
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)  # noqa: S603 - itself
    if done.returncode:
        from benchmarks.arguments import BenchmarkError  # noqa: PLC0415 - not of the measured

        raise BenchmarkError(f"{tree} could not be measured", done.stderr.splitlines()[-10:])
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure, and print tables."""
    from benchmarks.arguments import (  # noqa: PLC0415 - not of the measured checkout
        OneLineParser,
        errors_in_one_line,
        whole_number,
    )

    parser = OneLineParser(prog="python -m benchmarks.telemetry_cost", description=__doc__)
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--all-kinds", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--before", type=Path, help="another checkout, to compare with")
    parser.add_argument("--rounds", type=whole_number(1), default=5, help="number of rounds")
    parser.add_argument("--batches", type=whole_number(TURN), default=300, help="batches per round")
    given = parser.parse_args()
    if given.before and not (given.before / "worker").is_dir():
        parser.error(f"--before: {given.before} is not a checkout of this project")
    if given.measure:
        kinds = KINDS if given.all_kinds else {"off": KINDS["off"]}
        sys.stdout.write(json.dumps(measure(given.measure, kinds)))
        return
    with errors_in_one_line(parser.prog), serving() as url:
        rounds = [spawn(HERE, url, given.batches, all_kinds=True) for _ in range(given.rounds)]
        print("| telemetry | CPU ms a command, median | more than off, median | least to most |")
        print("|---|--:|--:|--:|")
        for name in KINDS:
            more = [(each[name] / each["off"] - 1) * 100 for each in rounds]
            spread = f"{min(more):+.1f} to {max(more):+.1f} %"
            taken = median(each[name] for each in rounds)
            print(f"| {name} | {taken:.3f} | {median(more):+.1f} % | {spread} |", flush=True)
        if given.before:
            trees = {"before": given.before, "off": HERE}
            least = dict.fromkeys(trees, float("inf"))
            for _ in range(given.rounds):
                for name, tree in trees.items():
                    found = spawn(tree, url, given.batches, all_kinds=False)["off"]
                    least[name] = min(least[name], found)
            print(f"\nleast ms: before {least['before']:.3f}, off {least['off']:.3f}")


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Run a server in another process that answers for AWS and the collector; yield its URL."""
    from benchmarks.direct_calls import message, serve  # noqa: PLC0415 - not of the measured
    from benchmarks.wire import HOST  # noqa: PLC0415 - as above
    from benchmarks.workload import as_cloud_event, register  # noqa: PLC0415 - as above

    messages = [message(as_cloud_event(command)) for command in register(10)]
    listener = socket.create_server((HOST, 0))
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(listener, messages))
    server.start()
    try:
        yield f"http://{HOST}:{listener.getsockname()[1]}"
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
