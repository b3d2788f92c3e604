"""`make bench`: everything side by side in one run; see docs/benchmark.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import plot, report, summary
from benchmarks.lineup import HERE
from benchmarks.measuring import CREDENTIALS, BenchmarkError
from benchmarks.sections import DEFAULT, FULL, QUICK, Section, run_all
from benchmarks.tables import REGION
from worker import logs

RESULTS = HERE / "results"
TABLE = "results.md"


def main() -> None:
    """Run the benchmark and write what it found."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="one short round, about three minutes")
    sizes.add_argument("--million", action="store_true", help="a table of a million users too")
    parser.add_argument("--results", type=Path, help="where to write (default: benchmarks/results)")
    parser.add_argument("--rounds", type=int, help="how often each takes its turn (default: 3)")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL if options.million else DEFAULT
    size = replace(size, rounds=options.rounds or size.rounds)
    # a quick run is for a look, and does not take the place of a whole one
    results = options.results or (RESULTS / "quick" if options.quick else RESULTS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: told to stop"))  # and stop all
    os.environ.update(REGION | CREDENTIALS)  # no account of anybody's
    logs.configure("json", "ERROR")
    _install_node_packages()
    about, began = _about(), time.monotonic()
    sections: list[Section] = []
    with tempfile.TemporaryDirectory(prefix="user-worker-bench-") as folder:
        try:
            for section in run_all(size, Path(folder)):
                sections.append(section)
                about["minutes"] = round((time.monotonic() - began) / 60, 1)
                _write(results, about, sections)  # what there is, should the rest fail
        except BenchmarkError as error:
            raise SystemExit(f"bench: {error}") from None
    print(f"\n{(results / TABLE).read_text()}\nwritten to {results}")


def _write(folder: Path, about: dict[str, Any], sections: list[Section]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    raw = {"about": about, "sections": [asdict(section) for section in sections]}
    (folder / "results.json").write_text(json.dumps(raw, indent=1) + "\n")
    (folder / TABLE).write_text(report.render(about, sections))
    (folder / "summary.md").write_text(summary.render(about, sections))
    (folder / "throughput.svg").write_text(plot.render(sections))


def _about() -> dict[str, Any]:
    """Say where, when and with what this runs."""
    git = shutil.which("git")
    commit = ""
    if git:
        command = [git, "describe", "--always", "--dirty"]
        commit = subprocess.run(  # noqa: S603 - a fixed command
            command, cwd=HERE, capture_output=True, text=True, check=False
        ).stdout.strip()
    processor = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
    return {
        "command": "make bench" + (f" ARGS='{' '.join(sys.argv[1:])}'" if sys.argv[1:] else ""),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "python": platform.python_version(),
        "processor": processor,
        "cores": os.cpu_count(),
    }


def _install_node_packages() -> None:
    """Install sqs-consumer as the lock has it, where there is npm."""
    folder, npm = HERE / "node", shutil.which("npm")
    if npm is None:
        print("bench: no npm: without bbc/sqs-consumer")
    elif not (folder / "node_modules").exists():
        command = [npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=folder, check=False)  # noqa: S603 - a fixed command


if __name__ == "__main__":
    main()
