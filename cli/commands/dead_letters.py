"""What failed for good: look, send back, take away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.base import EXIT_CODES, Json, app

if TYPE_CHECKING:
    from cli.dead_letters.choice import LetterFilter

dlq = typer.Typer(
    name="dlq",
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog=EXIT_CODES,
    help="Work on dead letters: look, send back, delete.\n\n"
    "\b\n"
    "[bold]Examples[/bold]\n"
    "  user-worker dlq list\n"
    "  user-worker dlq show MESSAGE_ID\n"
    "  user-worker dlq redrive --reason Unavailable --dry-run\n"
    "  user-worker dlq purge --reason NotJson --older-than 3d\n\n"
    "Reading a letter hides it from others until the command ends.",
)
app.add_typer(dlq, rich_help_panel="Operate")

Reasons = Annotated[
    list[str] | None,
    typer.Option("--reason", "-r", metavar="CODE", help="Their error_code; BySqs. Repeatable."),
]
Commands = Annotated[
    list[str] | None,
    typer.Option("--type", "-t", metavar="COMMAND", help="What they ask for. Repeatable."),
]
OlderThan = Annotated[
    str | None, typer.Option("--older-than", metavar="AGE", help="Like 90s, 10m, 2h, 3d.")
]
NewerThan = Annotated[str | None, typer.Option("--newer-than", metavar="AGE", help="As above.")]
Ids = Annotated[
    list[str] | None,
    typer.Option("--id", metavar="ID", help="Message or command id. Repeatable."),
]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, metavar="N", help="So many letters at most.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show which, and change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; for scripts.")]


def _choice(
    reasons: list[str] | None,
    commands: list[str] | None,
    older_than: str | None,
    newer_than: str | None,
    ids: list[str] | None,
    limit: int | None = None,
) -> LetterFilter:
    from cli.dead_letters.choice import LetterFilter

    return LetterFilter.of(
        reasons=reasons,
        commands=commands,
        older_than=older_than,
        newer_than=newer_than,
        ids=ids,
        limit=limit,
    )


@dlq.command("list", epilog=EXIT_CODES)
def list_(
    reason: Reasons = None,
    command: Commands = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    ids: Ids = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=50_000, metavar="N", help="Look at so many.")
    ] = 1_000,
    each: Annotated[bool, typer.Option("--each", help="A line a letter, with its ids.")] = False,
    as_json: Json = False,
) -> int:
    """Count dead letters by reason and command.

    \b
    [bold]Examples[/bold]
      user-worker dlq list
      user-worker dlq list --reason InvalidField --each
      user-worker dlq list --each --json | jq .command_id
    """
    from cli.dead_letters.showing import list_letters

    choice = _choice(reason, command, older_than, newer_than, ids)
    return list_letters(choice, most=limit, each=each, as_json=as_json)


@dlq.command(epilog=EXIT_CODES)
def show(
    message_id: Annotated[str, typer.Argument(metavar="ID", help="Message or command id.")],
    as_json: Json = False,
) -> int:
    """Show one dead letter, of secrets only that they were there.

    \b
    [bold]Examples[/bold]
      user-worker dlq show 6f1c0f6e-4a53-4a0e-9d0c-7a3e5f0c9b11
    """
    from cli.dead_letters.showing import show_letter

    return show_letter(message_id, as_json=as_json)


@dlq.command(epilog=EXIT_CODES)
def redrive(
    reason: Reasons = None,
    command: Commands = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    ids: Ids = None,
    limit: Limit = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=1, max=10_000, metavar="N", help="Letters a second, at most."),
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    edit: Annotated[
        str | None, typer.Option("--edit", metavar="TEXT", hidden=True, help="Refused.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Send dead letters back to the queue they came from.

    With the same command ids, so nothing is done twice. All of them without a
    filter: by SQS's own task, where there is one.

    \b
    [bold]Examples[/bold]
      user-worker dlq redrive --reason Unavailable --dry-run
      user-worker dlq redrive --reason Unavailable --yes
      user-worker dlq redrive --type BanUser --limit 10
    """
    from cli.dead_letters.redriving import RedriveOptions, redrive_letters

    choice = _choice(reason, command, older_than, newer_than, ids, limit)
    return redrive_letters(RedriveOptions(choice, dry_run, yes, rate, edit, as_json))


@dlq.command(epilog=EXIT_CODES)
def purge(
    reason: Reasons = None,
    command: Commands = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    ids: Ids = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> int:
    """Delete dead letters, for good.

    On a terminal their number has to be typed.

    \b
    [bold]Examples[/bold]
      user-worker dlq purge --reason NotJson --dry-run
      user-worker dlq purge --reason NotJson --older-than 3d --yes
    """
    from cli.dead_letters.purging import PurgeOptions, purge_letters

    choice = _choice(reason, command, older_than, newer_than, ids, limit)
    return purge_letters(PurgeOptions(choice, dry_run, yes, as_json))
