"""The command line `user-worker`: run it, feed it, watch it."""

from __future__ import annotations

import sys

PROBES = {("health",): False, ("health", "--ready"): False, ("health", "--live"): True}
"""What an orchestrator asks every few seconds, and whether it asks for life alone.

It is answered before the command line is put together, which takes three quarters of the time.
"""


def main() -> None:
    """Run the command line and end the process with its exit code."""
    live_only = PROBES.get(tuple(sys.argv[1:]))
    if live_only is not None:
        from cli.health import show_health

        sys.exit(show_health(live_only=live_only, as_json=False))
    from cli.app import run

    sys.exit(run(sys.argv[1:]))
