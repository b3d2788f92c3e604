"""`make chaos`: real workers under attack, and a checker that reads what came of it."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console

from tests.chaos import report
from tests.chaos.run import Options, run

SHOWN = 20
"""Findings shown on the terminal; the folder has all of them."""
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


def main() -> int:
    """Run by the command line's arguments; return the exit code."""
    options = _options()
    for name in [name for name in os.environ if name.startswith(("AWS_", "USER_WORKER_"))]:
        del os.environ[name]
    os.environ.update(ENVIRONMENT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(highlight=False, soft_wrap=True)
    fifo = " --fifo" if options.fifo else ""
    again = f"make chaos ARGS='--seed {options.seed} --seconds {options.seconds:g}{fifo}'"
    console.print(f"seed {options.seed}; history in {options.folder}/; the same again: {again}")
    began = time.monotonic()
    verdict = run(options, lambda text: console.print(f"{time.monotonic() - began:6.1f} s  {text}"))
    text = "\n".join(report.lines(verdict.history, verdict.findings))
    findings = [str(finding) for finding in verdict.findings]
    (options.folder / "report.txt").write_text("\n".join([text, *findings, ""]))
    console.print(text, markup=False)
    if findings:
        shown = "\n".join(findings[:SHOWN])
        console.print(f"FAILED with seed {options.seed}:\n{shown}", markup=False)
        console.print(f"all {len(findings)} are in {options.folder}/report.txt; again: {again}")
    return 1 if findings else 0


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long to attack")
    parser.add_argument("--seed", type=int, default=None, help="what to draw everything from")
    parser.add_argument("--rate", type=float, default=12.0, help="commands a second")
    parser.add_argument("--workers", type=int, default=3, help="worker processes")
    parser.add_argument("--fifo", action="store_true", help="on FIFO queues, a group a user")
    parser.add_argument("--folder", type=Path, default=None, help="where the history goes")
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    parser.add_argument("--endpoint", default=endpoint, help="LocalStack, on this machine")
    asked = parser.parse_args()
    if urlsplit(asked.endpoint).hostname not in {"127.0.0.1", "localhost", "::1"}:
        parser.error("--endpoint: must be on this machine")
    if not 10 <= asked.seconds <= 3_600 or not 0 < asked.rate <= 200 or not 1 <= asked.workers <= 8:
        parser.error("--seconds must be 10 to 3600, --rate up to 200, --workers 1 to 8")
    seed = random.SystemRandom().randrange(10**6) if asked.seed is None else asked.seed
    return Options(
        endpoint=asked.endpoint,
        folder=asked.folder or Path("build") / "chaos" / f"seed-{seed}",
        seed=seed,
        seconds=asked.seconds,
        rate=asked.rate,
        workers=asked.workers,
        fifo=asked.fifo,
    )


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
