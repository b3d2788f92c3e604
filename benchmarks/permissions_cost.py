"""Measure the processor time per command of permissions, of their audit and of keyed fingerprints.

Run it with `python -m benchmarks.permissions_cost`.

One process receives, handles and deletes batches of ten registrations; a server in another one
answers for AWS (as in `benchmarks.telemetry_cost`). The kinds take turns in any order, so that what
else the machine does weighs on all alike. Their producer is the last one of its file. The second
figure of a kind is the median of the ratios of each turn to the turn of the first kind beside it,
which does not depend on slow changes of the machine.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from application.disposition import ReceivedMessage
    from application.observer import ObservedCommand

HERE: Final = Path(__file__).parents[1]
KEYS: Final = "k" * 32
TURN: Final = 4
"""Number of batches, as in `benchmarks.telemetry_cost`."""
WARM_TURNS: Final = 5
PRODUCERS: Final = "USER_WORKER_PERMISSIONS"


@dataclass(frozen=True, slots=True)
class Kind:
    """The features that are on."""

    producers: int = 0
    """Producers of the permissions file; without any, every sender may send every command."""
    keyed: bool = True
    """Whether fingerprints are keyed; if not, the plain hash is stored."""


NEITHER: Final = "every sender permitted, plain fingerprints"
KINDS: Final[dict[str, Kind]] = {
    NEITHER: Kind(keyed=False),
    "keyed fingerprints": Kind(),
    "permissions of 8 producers": Kind(8, keyed=False),
    "both, 8 producers": Kind(8),
    "both, 100 producers": Kind(100),
}


def permissions_file(folder: Path, producers: int, principal: str) -> Path:
    """Write a file of permissions whose last producer sends the benchmark's commands."""
    others = ["UpdateProfile", "StartSession", "RotateRefreshToken", "BanUser", "ResetPassword"]
    rows = [
        (f"service-{n}", f"AROASERVICE{n}", f"/service-{n}", others) for n in range(1, producers)
    ]
    rows.append(("benchmark", principal, "/benchmark", [*others, "RegisterUser"]))
    blocks = [
        f'[[producer]]\nname = "{name}"\nqueues = ["user-commands"]\nprincipals = ["{sender}"]\n'
        f'sources = ["{source}"]\ncommands = {json.dumps(commands)}\n'
        for name, sender, source, commands in rows
    ]
    path = folder / f"permissions-{producers}.toml"
    path.write_text("\n".join(blocks))
    return path


def compose(kind: Kind, folder: Path) -> tuple[Any, Any]:
    """Compose a worker; return its queue and the handler of a batch.

    Raises:
        AssertionError: it does not accept the commands, so something else would be measured.
    """
    from application.batch import BatchHandler  # noqa: PLC0415 - not needed by the parent
    from application.key_ring import KeyRing  # noqa: PLC0415 - as above
    from application.messages import MessageParser  # noqa: PLC0415 - as above
    from application.observer import WorkerObserver  # noqa: PLC0415 - as above
    from benchmarks.direct_calls import SENDER  # noqa: PLC0415 - as above
    from benchmarks.telemetry_cost import run  # noqa: PLC0415 - as above
    from worker import bootstrap  # noqa: PLC0415 - as above
    from worker.permissions import load_permissions  # noqa: PLC0415 - as above
    from worker.settings import load_settings  # noqa: PLC0415 - as above

    class PlainKeys(KeyRing):
        """Stores the plain hash of a command."""

        __slots__ = ()

        def fingerprint(self, content: str) -> str:
            """Return the plain hash."""
            return content

    class Outcomes(WorkerObserver):
        """Counts the outcomes of commands."""

        def __init__(self) -> None:
            self.seen: Counter[str] = Counter()

        def command_finished(
            self,
            message: ReceivedMessage,  # noqa: ARG002 - of the port
            command: ObservedCommand,  # noqa: ARG002 - of the port
            outcome: str,
            code: str | None,  # noqa: ARG002 - of the port
            *,
            seconds: float,  # noqa: ARG002 - of the port
        ) -> None:
            """Count the outcome."""
            self.seen[outcome] += 1

    os.environ.pop(PRODUCERS, None)
    if kind.producers:
        os.environ[PRODUCERS] = str(permissions_file(folder, kind.producers, SENDER))
    settings = load_settings()
    policy = bootstrap.batch_policy(settings)
    if not kind.keyed:
        policy = replace(policy, hash_keys=PlainKeys(policy.hash_keys.keys))
    queue: Any = bootstrap.command_queue_factory("user-commands")
    queue._urls["user-commands"] = f"{os.environ['AWS_ENDPOINT_URL']}/0/user-commands"  # noqa: SLF001 - the answering server has no queue names
    ports, parser = bootstrap.build_ports(settings), MessageParser(settings.roles)
    permissions = load_permissions(settings)
    outcomes = Outcomes()
    run(queue, BatchHandler(ports, parser, policy, outcomes, permissions).handle)
    assert outcomes.seen == {"accepted": 10}, outcomes.seen
    return queue, BatchHandler(ports, parser, policy, permissions=permissions).handle


def measure(batches: int, names: list[str]) -> dict[str, list[float]]:
    """Return each kind's milliseconds of processor time per command, turn by turn."""
    from benchmarks.telemetry_cost import run  # noqa: PLC0415 - not needed by the parent
    from worker import logs  # noqa: PLC0415 - as above

    logs.configure("json", "INFO", os.devnull)
    with tempfile.TemporaryDirectory() as folder:
        parts = {name: compose(KINDS[name], Path(folder)) for name in names}
    spent: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-WARM_TURNS, batches // TURN):
        if turn == 0:
            gc.collect()
            gc.freeze()
            spent = {name: [] for name in names}
        for name in sorted(names, key=lambda _: random.random()):
            queue, handle = parts[name]
            began = time.process_time()
            for _ in range(TURN):
                run(queue, handle)
            spent[name].append((time.process_time() - began) / (TURN * 10) * 1000)
    return spent


def spawn(url: str, batches: int, names: list[str]) -> dict[str, list[float]]:
    """Measure in a separate process."""
    from benchmarks.arguments import BenchmarkError  # noqa: PLC0415 - not of the measured process

    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "USER_"))} | {
        "PYTHONPATH": str(HERE),
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
        "USER_WORKER_EVENTS_TOPIC": "arn:aws:sns:us-east-1:000000000000:user-events",
        "USER_WORKER_ENV": "test",
        "USER_WORKER_HASH_KEYS": KEYS,
    }
    command = [sys.executable, __file__, "--measure", str(batches), "--kinds", json.dumps(names)]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)  # noqa: S603 - itself
    if done.returncode:
        raise BenchmarkError("a kind could not be measured", done.stderr.splitlines()[-10:])
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


def compare(rounds: list[dict[str, list[float]]]) -> None:
    """Print a row for each kind."""
    print("| kind | CPU ms a command, median | more than the first kind, median | quartiles |")
    print("|---|--:|--:|--:|")
    for name in KINDS:
        turns = [each for found in rounds for each in found[name]]
        first = [each for found in rounds for each in found[NEITHER]]
        more = [(mine / of_first - 1) * 100 for mine, of_first in zip(turns, first, strict=True)]
        low, _, high = quantiles(more, n=4) if len(more) > 1 else [more[0]] * 3
        spread = "" if name == NEITHER else f"{low:+.1f} to {high:+.1f} %"
        middle = "" if name == NEITHER else f"{median(more):+.1f} %"
        print(f"| {name} | {median(turns):.3f} | {middle} | {spread} |", flush=True)


def main() -> None:
    """Measure, and print tables."""
    from benchmarks.arguments import (  # noqa: PLC0415 - not of the measured process
        OneLineParser,
        errors_in_one_line,
        whole_number,
    )
    from benchmarks.telemetry_cost import serving  # noqa: PLC0415 - as above

    parser = OneLineParser(prog="python -m benchmarks.permissions_cost", description=__doc__)
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--kinds", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=whole_number(1), default=5, help="number of rounds")
    parser.add_argument("--batches", type=whole_number(TURN), default=300, help="batches per round")
    given = parser.parse_args()
    if given.measure:
        sys.stdout.write(json.dumps(measure(given.measure, given.kinds)))
        return
    with errors_in_one_line(parser.prog), serving() as url:
        compare([spawn(url, given.batches, list(KINDS)) for _ in range(given.rounds)])


if __name__ == "__main__":
    main()
