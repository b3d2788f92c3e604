"""What was committed and not published yet."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.commands.base import EXIT_CODES, Json, User, app

outbox = typer.Typer(
    name="outbox",
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog=EXIT_CODES,
    help="See what waits to be published, and publish it.\n\n"
    "\b\n"
    "[bold]Examples[/bold]\n"
    "  user-worker outbox list --parked\n"
    "  user-worker outbox publish --parked\n\n"
    "Every worker does this by itself; nothing is ever deleted unpublished.",
)
app.add_typer(outbox, rich_help_panel="Operate")


@outbox.command("list", epilog=EXIT_CODES)
def list_(
    user: User = None,
    parked: Annotated[bool, typer.Option("--parked", help="Only what is parked.")] = False,
    limit: Annotated[
        int, typer.Option("--limit", min=1, metavar="N", help="So many entries at most.")
    ] = 1_000,
    as_json: Json = False,
) -> int:
    """List what waits, oldest first in each shard, then what is parked.

    \b
    [bold]Examples[/bold]
      user-worker outbox list
      user-worker outbox list --parked --json | jq .parked_because
    """
    from cli.outbox import list_outbox
    from cli.show import id_of

    user_id = None if user is None else id_of(user, "--user")
    return list_outbox(user_id=user_id, parked=parked, limit=limit, as_json=as_json)


@outbox.command(epilog=EXIT_CODES)
def publish(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Only these, however old.")
    ] = None,
    parked: Annotated[
        bool, typer.Option("--parked", help="Try again what is parked, too.")
    ] = False,
    now: Annotated[
        bool, typer.Option("--now", help="Also what is so young that its worker may publish it.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Publish now what the relay would publish later.

    Subscribers may get an event twice, with the same id.

    \b
    [bold]Examples[/bold]
      user-worker outbox publish
      user-worker outbox publish --parked
    """
    from cli.outbox import PublishOptions, publish_outbox

    return publish_outbox(PublishOptions(frozenset(ids or ()), parked, now, as_json))
