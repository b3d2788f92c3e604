"""`user-worker user`: show a user as stored, without secrets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli import composition, output
from cli.commands.base import EXIT_CODES, MESSAGES, Json, app
from cli.parsing import parse_id_option
from worker.errors import CliError, ExitCode

if TYPE_CHECKING:
    from domain.values import EmailAddress
    from worker.connections import Aws


@app.command(epilog=EXIT_CODES, rich_help_panel=MESSAGES)
def user(
    user: Annotated[
        str, typer.Argument(metavar="USER_ID|EMAIL", help="Id or e-mail address of the user.")
    ],
    history: Annotated[
        bool, typer.Option("--history", help="Also show the outcomes of commands, newest first.")
    ] = False,
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="Maximum number of outcomes.")
    ] = 100,
    before: Annotated[
        str | None,
        typer.Option(metavar="COMMAND_ID", help="Only outcomes before this command."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Show a stored user, without credentials.

    \b
    [bold]Examples[/bold]
      user-worker user ada@example.com --history
      user-worker user USER_ID --history --limit 20 --before COMMAND_ID
    """
    from cli import rendering
    from operations.presentation import user_facts
    from operations.users import find_user, parse_user, read_history

    who = parse_user(user)
    last = None if before is None else parse_id_option(before, "--before")
    connections = composition.aws()
    repository = connections.repository
    found = find_user(repository, who)
    if found is None:
        raise _not_found(who, connections)
    past = read_history(repository, found.user_id, limit, last) if history or before else None
    facts = user_facts(found)
    if as_json:
        if past is not None:
            facts["history"] = [rendering.outcome_json(outcome) for outcome in past.outcomes]
            facts["history_goes_on"] = past.continues
        output.print_json(facts)
        return ExitCode.OK
    console = output.stdout()
    if before is None:
        console.print(output.pairs({name: _shown(value) for name, value in facts.items()}))
    if past is not None:
        console.print()
        console.print(rendering.outcome_rows(past.outcomes, console.width))
        if past.continues:
            text = f"there are more outcomes: use --before {past.outcomes[-1].command_id}"
            output.stderr().print(text, style="yellow")
    return ExitCode.OK


def _not_found(who: str | EmailAddress, connections: Aws) -> CliError:
    """Return the error of an unknown user; for an address, with the ban of an erased user."""
    from domain.values import render_time
    from operations.users import find_ban
    from worker.errors import SettingsError
    from worker.settings import PREFIX

    advice = "the registration may still be in the queue"
    if not isinstance(who, str):
        advice = f"for an erased user, use the id; {advice}"
        try:
            keys = connections.settings.hash_key_ring
        except SettingsError:
            advice += f"; set {PREFIX}HASH_KEYS to find a ban of the address"
        else:
            ban = find_ban(connections.repository, who, keys, datetime.now(UTC))
            if ban is not None:
                until = f"until {render_time(ban.until)}" if ban.until else "permanently"
                advice = (
                    f"the address is banned {until}, since its user {ban.user_id} was erased while "
                    "banned; UnbanUser for this user ends the ban"
                )
    return CliError("user not found", advice, ExitCode.NEGATIVE)


def _shown(value: object) -> object:
    match value:
        case None | []:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(value)
        case _:
            return value
