"""`user-worker health`; probes reach the same function directly from `cli.main`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.commands.base import OPERATE, Json, app
from cli.health import show_health


@app.command(
    epilog="[bold]Exit codes:[/bold] 0 all workers are healthy; "
    "1 a worker is unhealthy, or none is running.",
    rich_help_panel=OPERATE,
)
def health(
    live: Annotated[
        bool, typer.Option("--live/--ready", help="Check liveness only, or also readiness.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Show the health of the workers on this machine; for probes.

    A worker that is not live must be restarted. A worker that is not ready
    waits for AWS; a restart does not help. Reads files; makes no calls.

    \b
    [bold]Examples[/bold]
      user-worker health          are commands processed?
      user-worker health --live   for a container's health check
    """
    return show_health(live_only=live, as_json=as_json)
