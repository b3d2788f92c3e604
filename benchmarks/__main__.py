"""Compare the worker with others in one run, `make bench`; see docs/explanation/benchmark.md."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import pages, short
from benchmarks.arguments import (
    BenchmarkError,
    OneLineParser,
    errors_in_one_line,
    whole_number,
)
from benchmarks.lineup import HERE
from benchmarks.measuring import CREDENTIALS
from benchmarks.results_file import FIGURES, RESULTS, TABLE, read_results, write_results
from benchmarks.sections import (
    DEFAULT,
    FULL,
    QUICK,
    SECTIONS,
    SHORT,
    Section,
    Size,
    run_all,
    run_short,
)
from benchmarks.tables import REGION
from worker import logs

PROGRAM = "bench"


def main() -> None:
    """Run the benchmark, write its results, and update the pages that quote them."""
    parser = OneLineParser(
        prog=PROGRAM, usage="make bench ARGS='[OPTION ...]'", description=__doc__
    )
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument(
        "--quick", action="store_true", help="run one short round, about three minutes"
    )
    sizes.add_argument(
        "--million", action="store_true", help="also measure a table of a million users"
    )
    sizes.add_argument(
        "--short", action="store_true", help="run the check for CI, about a minute; write nothing"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=SECTIONS,
        default=[],
        help="measure this section only, and replace it in the results; may be repeated",
    )
    parser.add_argument(
        "--results", type=Path, help="folder to write (default: benchmarks/results)"
    )
    parser.add_argument("--rounds", type=whole_number(1), help="number of rounds (default: 3)")
    options = parser.parse_args()
    with errors_in_one_line(PROGRAM):
        _prepare()
        if options.short:
            _check(replace(SHORT, rounds=options.rounds or SHORT.rounds))
            return
        size = QUICK if options.quick else FULL if options.million else DEFAULT
        size = replace(size, rounds=options.rounds or size.rounds)
        # a quick run is a preview, and does not replace a full run
        results = options.results or (RESULTS / "quick" if options.quick else RESULTS)
        results.mkdir(parents=True, exist_ok=True)  # before minutes are spent
        _install_node_packages()
        if options.only:
            _renew(results, size, options.only)
        else:
            _measure_all(results, size)
        print(f"\n{(results / TABLE).read_text()}\nwritten to {results}")
        if results == RESULTS:
            pages.renew()


def _measure_all(results: Path, size: Size) -> None:
    about, began = _about(), time.monotonic()
    sections: list[Section] = []
    with tempfile.TemporaryDirectory(prefix="user-worker-bench-") as folder:
        for section in run_all(size, Path(folder)):
            sections.append(section)
            about["minutes"] = round((time.monotonic() - began) / 60, 1)
            # Saves partial results, in case the rest fails.
            write_results(results, about, sections)


def _renew(results: Path, size: Size, only: list[str]) -> None:
    """Measure some sections, and replace them in existing results.

    Raises:
        BenchmarkError: There are no results.
    """
    if not (results / FIGURES).exists():
        raise BenchmarkError(f"no {FIGURES} in {results}: run without --only first")
    about, sections = read_results(results)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="user-worker-bench-") as folder:
        for section in run_all(size, Path(folder), only):
            minutes = round((time.monotonic() - began) / 60, 1)
            section.about.update(_about() | {"minutes": minutes})
            found = {each.key: each for each in sections} | {section.key: section}
            sections = [found[key] for key in SECTIONS if key in found]
            write_results(results, about, sections)


def _prepare() -> None:
    if not Path("/proc/stat").exists():
        raise BenchmarkError("needs Linux: processor times are read from /proc")
    # And stop all processes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped by a signal"))
    os.environ.update(REGION | CREDENTIALS)  # no real account
    logs.configure("json", "ERROR")


def _check(size: Any) -> None:
    """Run the short form.

    Raises:
        BenchmarkError: With all faults in one line.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="user-worker-bench-") as folder:
        section = run_short(size, Path(folder))
    print(f"\n{short.render(section)}\n")
    if faults := short.faults(section):
        raise BenchmarkError("; ".join(faults))
    print(f"{PROGRAM}: {short.summary(section)}; took {time.monotonic() - began:.0f} s")


def _about() -> dict[str, Any]:
    """Return place, time, versions and command of this run."""
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
    """Install sqs-consumer from the lock file, if npm is available."""
    folder, npm = HERE / "node", shutil.which("npm")
    if npm is None:
        print("bench: npm not found: bbc/sqs-consumer is not measured")
    elif not (folder / "node_modules").exists():
        command = [npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=folder, check=False)  # noqa: S603 - a fixed command


if __name__ == "__main__":
    main()
