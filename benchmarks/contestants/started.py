"""Variables and arguments that the benchmark passes to a contestant."""

from __future__ import annotations

import os
import sys


def variable(name: str) -> str:
    """Return the value of `BENCH_<name>`.

    Raises:
        SystemExit: it is not set.
    """
    value = os.environ.get(f"BENCH_{name}")
    if value is None:
        raise SystemExit(f"BENCH_{name} is not set: `make bench` starts this program")
    return value


def prepared_and_threads() -> tuple[str, int]:
    """Return the command line's two arguments: a file, and the number of threads.

    Raises:
        SystemExit: they are not there.
    """
    arguments = sys.argv[1:]
    if len(arguments) != 2 or not arguments[1].isdecimal():  # noqa: PLR2004 - a file and a number
        raise SystemExit(f"{sys.argv[0]}: takes PREPARED THREADS: `make bench` starts this program")
    return arguments[0], int(arguments[1])
