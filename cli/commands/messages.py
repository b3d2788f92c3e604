"""Send commands, and see what came of them."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.commands.base import EXIT_CODES, Json, User, Wait, app
from cli.completing import categories, command_names


@app.command(epilog=EXIT_CODES)
def send(
    command: Annotated[
        str | None,
        typer.Argument(
            metavar="COMMAND|-",
            help="RegisterUser, or biome.user.RegisterUser.v1; - reads standard input.",
            autocompletion=command_names,
        ),
    ] = None,
    pairs: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="The command's fields.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="JSON", help="The fields as a JSON object.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            "-f",
            metavar="PATH",
            help="JSON, a JSON array or JSON lines; - is standard input.",
        ),
    ] = None,
    user: User = None,
    command_id: Annotated[
        str | None,
        typer.Option("--id", metavar="UUID", help="The command's id; a new one if left out."),
    ] = None,
    correlation_id: Annotated[
        str | None,
        typer.Option("--correlation-id", metavar="TEXT", help="Goes into the command's events."),
    ] = None,
    expected_version: Annotated[
        int | None,
        typer.Option(
            "--expected-version", min=0, metavar="N", help="Reject if the user's version differs."
        ),
    ] = None,
    actor: Annotated[
        str | None, typer.Option("--actor", metavar="TEXT", help="Who asks for it.")
    ] = None,
    source: Annotated[
        str, typer.Option("--source", metavar="URI", help="Where it comes from (a URI reference).")
    ] = "/user-worker/cli",
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            metavar="TEXT",
            help="The message group. FIFO: what keeps its order (default: the user). "
            "Standard: who shares the queue fairly (default: none).",
        ),
    ] = None,
    wait: Wait = None,
    as_json: Json = False,
) -> int:
    """Send commands to the queue, checked before the first leaves.

    Prints their ids, a line each, or with --wait how they ended.

    \b
    [bold]Examples[/bold]
      user-worker send CreateUser email=ada@example.com first_name=Ada
            last_name=Lovelace roles=customer,admin --wait 10
      user-worker send AssignRole role=admin --user UUID
      user-worker send BanUser --user UUID --data '{"reason": "fraud"}'
      user-worker send --file commands.jsonl
      echo '{"type": "UnbanUser", "user_id": "UUID"}' | user-worker send -

    \b
    A line of such a file is {"type", "data", "id"?, "user_id"?}
    or a whole CloudEvent.
    """
    from cli.send import SendOptions, send_commands

    extensions = {
        "correlationid": correlation_id,
        "expectedversion": expected_version,
        "actor": actor,
    }
    return send_commands(
        SendOptions(
            command=command,
            pairs=pairs or [],
            data=data,
            file=file,
            user_id=user,
            command_id=command_id,
            source=source,
            extensions=extensions,
            group=group,
            wait=wait,
            as_json=as_json,
        )
    )


@app.command(epilog=EXIT_CODES)
def events(
    category: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Only this category: registration, profile, email, ..., command.",
            autocompletion=categories,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="End after so many events.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Follow what comes out of the topic, until Ctrl-C.

    It subscribes a queue of its own, and removes it at the end.

    \b
    [bold]Examples[/bold]
      user-worker events
      user-worker events --category command --json | jq .data.code
    """
    from cli.events import follow

    return follow(category=category, limit=limit, as_json=as_json)


@app.command(epilog=EXIT_CODES)
def outcome(
    command_id: Annotated[str, typer.Argument(help="The command's id.")],
    user: User = None,
    wait: Wait = None,
    as_json: Json = False,
) -> int:
    """Show how a command ended.

    Without --user it finds those that named no user: a registration, or a
    password reset by e-mail address.

    \b
    [bold]Examples[/bold]
      user-worker outcome COMMAND_ID --user USER_ID --wait 10
    """
    from cli.show import show_outcome

    return show_outcome(command_id, user_id=user, wait=wait, as_json=as_json)


@app.command(epilog=EXIT_CODES)
def user(
    user: Annotated[str, typer.Argument(metavar="USER_ID|EMAIL", help="Who.")],
    history: Annotated[
        bool, typer.Option("--history", help="Also how their commands ended, latest first.")
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", min=1, metavar="N", help="Of the history, at most.")
    ] = 100,
    before: Annotated[
        str | None,
        typer.Option("--before", metavar="COMMAND_ID", help="Only what came before this command."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Show a user as stored; of secrets only whether they are set.

    \b
    [bold]Examples[/bold]
      user-worker user ada@example.com --history
      user-worker user USER_ID --history --limit 20 --before COMMAND_ID
    """
    from cli.show import HistoryOptions, show_user

    past = HistoryOptions(limit, before) if history or before else None
    return show_user(user, history=past, as_json=as_json)
