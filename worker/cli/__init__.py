"""The command line `user-worker`: run it, feed it, watch it."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and end the process with its exit code."""
    from worker.cli.app import run

    sys.exit(run(sys.argv[1:]))
