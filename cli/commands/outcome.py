"""`user-worker outcome`: show how a command ended."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import composition
from cli.commands.base import EXIT_CODES, MESSAGES, Json, User, Wait, app
from cli.parsing import parse_id_option
from cli.progress import TerminalProgress
from operations.signals import stop_on_signals
from worker.errors import CliError, ExitCode


@app.command(epilog=EXIT_CODES, rich_help_panel=MESSAGES)
def outcome(
    command_id: Annotated[str, typer.Argument(metavar="COMMAND_ID", help="Id of the command.")],
    user: User = None,
    wait: Wait = None,
    as_json: Json = False,
) -> int:
    """Show the outcome of a command.

    Without --user, only commands without a user id are found: registrations,
    and password resets by e-mail address.

    \b
    [bold]Examples[/bold]
      user-worker outcome COMMAND_ID --user USER_ID --wait 10
    """
    from cli.rendering import print_outcomes
    from operations.outcomes import await_outcomes, listener, outcome_keys

    command_id = parse_id_option(command_id, "the command's id")
    keys = outcome_keys(command_id, None if user is None else parse_id_option(user, "--user"))
    aws = composition.aws()
    listen = listener(aws, [command_id], TerminalProgress())
    with stop_on_signals():
        found = await_outcomes(aws.repository, keys, wait or 0, enough=1, listen=listen)
    if not found:
        advice = "" if user else "if the command has a user id, use --user; "
        code = ExitCode.NEGATIVE if wait is None else ExitCode.TIMEOUT
        raise CliError("outcome not found", f"{advice}it may not be processed yet", code)
    return print_outcomes([*found.values()], as_json=as_json)
