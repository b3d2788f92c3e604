"""The command line `user-worker`."""

from __future__ import annotations

import atexit
import gc
import sys

PROBES = {("health",): False, ("health", "--ready"): False, ("health", "--live"): True}
"""Arguments of health probes, and whether a probe checks liveness only.

Orchestrators run them every few seconds. They are answered before the command line is imported,
which takes three quarters of the time.
"""


def main() -> None:
    """Run the command line and end the process with its exit code."""
    # At exit, the interpreter would search all objects for garbage that the system frees anyway.
    atexit.register(gc.freeze)
    live_only = PROBES.get(tuple(sys.argv[1:]))
    if live_only is not None:
        from cli.health import show_health

        sys.exit(show_health(live_only=live_only, as_json=False))
    from cli.app import run

    sys.exit(run(sys.argv[1:]))
