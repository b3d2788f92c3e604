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
    from worker.cli.doctor import show_examination

    return show_examination(as_json=as_json)
