"""`user-worker health`; probes reach the same function directly from `cli.main`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.commands.base import OPERATE, Json, app
from cli.health import show_health


@app.command(
    epilog="[bold]Exit codes:[/bold] 0 all workers are healthy; 1 one is unhealthy, or none runs.",
    rich_help_panel=OPERATE,
)
def health(
    live: Annotated[
        bool, typer.Option("--live/--ready", help="Whether to ask for life alone.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Ask the workers on this machine how they are; for probes.

    A worker that is not live has to be restarted. One that is not ready waits
    for AWS, and a restart would not help. Reads a file and calls nothing.

    \b
    [bold]Examples[/bold]
      user-worker health          whether commands get done
      user-worker health --live   for a container's health check
    """
    return show_health(live_only=live, as_json=as_json)
