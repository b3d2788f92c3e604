"""See how it is, and keep it going."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.commands.base import EXIT_CODES, Json, app


@app.command(epilog=EXIT_CODES)
def status(as_json: Json = False) -> int:
    """Show what waits, what is dead, and whether all is there.

    The exit code is 3 if something is missing; `user-worker doctor` looks closer.

    \b
    [bold]Examples[/bold]
      user-worker status --json | jq .dead_letters
    """
    from cli.status import show_status

    return show_status(as_json=as_json)


@app.command(
    epilog="[bold]Exit codes:[/bold] 0 all workers here are well; 1 one is not, or there is none."
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
    from cli.health import show_health

    return show_health(live_only=live, as_json=as_json)


@app.command(epilog="[bold]Exit codes:[/bold] 0 it works, warnings or not; 3 something fails.")
def doctor(as_json: Json = False) -> int:
    """Look for what is wrong here, and say what to do.

    Looks at the installation, the settings, credentials, the clock, queues,
    topic, table and permissions; changes nothing. One line a check.

    \b
    [bold]Examples[/bold]
      user-worker doctor
      user-worker doctor --json | jq 'select(.level != "ok")'
    """
    from cli.doctor import show_examination

    return show_examination(as_json=as_json)


@app.command(epilog=EXIT_CODES)
def leftovers(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Like 90s, 10m, 2h, 3d.")
    ] = "1h",
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove those that nobody reads.")
    ] = False,
    as_json: Json = False,
) -> int:
    """List temporary queues, and remove those left behind.

    They are those of `events`, of `--wait` and of services that wait for
    answers. --remove puts a message into each, takes a minute to see whether
    somebody reads it, and ends subscriptions without a queue, too.

    \b
    [bold]Examples[/bold]
      user-worker leftovers
      user-worker leftovers --older-than 1d --remove
    """
    from cli.leftovers import show_leftovers

    return show_leftovers(older_than=older_than, remove=remove, as_json=as_json)
