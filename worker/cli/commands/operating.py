"""See how it is, and keep it going."""

from __future__ import annotations

from worker.cli.commands.base import EXIT_CODES, Json, app


@app.command(epilog=EXIT_CODES)
def status(as_json: Json = False) -> int:
    """Show what waits, what is dead, and whether all is there.

    The exit code is 3 if something is missing; `user-worker doctor` looks closer.

    \b
    [bold]Examples[/bold]
      user-worker status --json | jq .dead_letters
    """
    from worker.cli.status import show_status

    return show_status(as_json=as_json)
