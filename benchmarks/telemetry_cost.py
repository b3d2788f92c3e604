"""Processor time a command with telemetry off and on: `python -m benchmarks.telemetry_cost`.

Each row runs in processes of its own, which receive, handle and delete batches of ten
registrations; a server in another process answers for AWS and for the collector. Rows take turns,
and a figure is the median of the rounds. `--before TREE` adds a row of another checkout, such as
that of the commit before there was telemetry.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parents[1]
TRACES = "OTEL_TRACES_EXPORTER"
COLLECTOR = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACED = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp"}
SAMPLED = {**TRACED, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}
KINDS: dict[str, dict[str, str]] = {
    "off": {},
    "metrics, Prometheus": {"OTEL_METRICS_EXPORTER": "prometheus"},
    "metrics, OTLP": {"OTEL_METRICS_EXPORTER": "otlp"},
    "metrics and 1 % of traces, OTLP": {**SAMPLED, "OTEL_TRACES_SAMPLER_ARG": "0.01"},
    "metrics and 10 % of traces, OTLP": {**SAMPLED, "OTEL_TRACES_SAMPLER_ARG": "0.1"},
    "metrics and all traces, OTLP": {**TRACED, "OTEL_TRACES_SAMPLER": "always_on"},
}


def measure(batches: int) -> float:
    """Give the milliseconds of processor time a command, in this process."""
    from worker import bootstrap, logs  # noqa: PLC0415 - of the checkout that is measured
    from worker.settings import load_settings  # noqa: PLC0415 - as above
    from worker.transport.batching import Batch, as_task_argument  # noqa: PLC0415 - as above

    logs.configure("json", "INFO", os.devnull)
    telemetry: Any = getattr(bootstrap, "telemetry", None)
    if telemetry is not None:
        telemetry.prepare()
    queue: Any = bootstrap.command_queue_factory("user-commands")
    # what answers knows no names
    own: Any = getattr(queue, "_queue", queue)
    own._urls["user-commands"] = f"{os.environ['AWS_ENDPOINT_URL']}/0/user-commands"  # noqa: SLF001
    handle = bootstrap.build(load_settings()).batch.handle

    def run(count: int) -> None:
        for number in range(count):
            received = tuple(queue.receive(10, 0, 60))
            batch = Batch(number, "user-commands", received)
            settled = handle(as_task_argument(batch, fifo=False))
            repr(settled)
            queue.delete(batch.receipts)

    run(20)
    began = time.process_time()
    run(batches)
    if telemetry is not None:
        telemetry.stop()  # what is still to be sent is part of the cost
    return (time.process_time() - began) / (batches * 10) * 1000


def spawn(tree: Path, kind: dict[str, str], url: str, batches: int) -> float:
    """Measure in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "USER_"))} | {
        "PYTHONPATH": str(tree),
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
        "USER_WORKER_EVENTS_TOPIC": "arn:aws:sns:us-east-1:000000000000:user-events",
        "USER_WORKER_ENV": "test",
        "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
        **kind,
    }
    if kind:
        environment |= {COLLECTOR: url, "OTEL_TRACES_EXPORTER": kind.get(TRACES, "none")}
    command = [sys.executable, __file__, "--measure", str(batches)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)  # noqa: S603 - itself
    return float(done.stdout)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--before", type=Path, help="another checkout, to measure beside this")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=300)
    given = parser.parse_args()
    if given.measure:
        sys.stdout.write(str(measure(given.measure)))
        return
    rows = {name: (HERE, kind) for name, kind in KINDS.items()}
    if given.before:
        rows = {"before there was telemetry": (given.before, {}), **rows}
    taken = in_turns(rows, given.rounds, given.batches)
    off = median(taken["off"])
    print("| telemetry | CPU ms a command | more than off | least to most, ms |")
    print("|---|--:|--:|--:|")
    for name, times in taken.items():
        more = f"{(median(times) / off - 1) * 100:+.1f} %"
        spread = f"{min(times):.3f} to {max(times):.3f}"
        print(f"| {name} | {median(times):.3f} | {more} | {spread} |")


def in_turns(rows: dict[str, Any], rounds: int, batches: int) -> dict[str, list[float]]:
    """Measure every row in each round; give its times."""
    from benchmarks.direct_calls import message, serve  # noqa: PLC0415 - not of the measured
    from benchmarks.wire import HOST  # noqa: PLC0415 - as above
    from benchmarks.workload import as_cloud_event, register  # noqa: PLC0415 - as above

    messages = [message(as_cloud_event(command)) for command in register(10)]
    listener = socket.create_server((HOST, 0))
    url = f"http://{HOST}:{listener.getsockname()[1]}"
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(listener, messages))
    server.start()
    taken: dict[str, list[float]] = {name: [] for name in rows}
    try:
        for _ in range(rounds):
            for name, (tree, kind) in rows.items():
                taken[name].append(spawn(tree, kind, url, batches))
    finally:
        server.terminate()
        server.join()
    return taken


if __name__ == "__main__":
    main()
