"""Bring what is stored up to date."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.commands.base import EXIT_CODES, Json, app


@app.command(epilog=EXIT_CODES)
def migrate(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count by kind and format; write nothing.")
    ] = False,
    segments: Annotated[
        int, typer.Option("--segments", min=1, max=64, help="Read so many at the same time.")
    ] = 4,
    share: Annotated[
        float,
        typer.Option("--share", min=0.01, max=1, help="Of the table's capacity, at most."),
    ] = 0.25,
    units: Annotated[
        float | None,
        typer.Option("--units", min=1, help="Instead: read and write units a second, at most."),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option("--state", metavar="FILE", help="Progress; default migrate-TABLE.state.json."),
    ] = None,
    addresses: Annotated[
        bool, typer.Option("--addresses/--no-addresses", help="Mend reservations of addresses.")
    ] = True,
    as_json: Json = False,
) -> int:
    """Bring all stored items to the present format, while workers run.

    Also reserves addresses that a user has without a reservation, and frees those
    of nobody. Run it again after a stop: it goes on where it was. The exit code
    is 1 if something is left for a person.

    \b
    [bold]Examples[/bold]
      user-worker migrate --dry-run
      user-worker migrate
      user-worker migrate --units 500 --segments 8
    """
    from cli.migrate import MigrateOptions, migrate

    return migrate(
        MigrateOptions(
            dry_run=dry_run,
            segments=segments,
            share=share,
            units=units,
            state=state,
            addresses=addresses,
            as_json=as_json,
        )
    )
