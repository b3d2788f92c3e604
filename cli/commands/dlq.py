"""`user-worker dlq`: list dead letters, send them back, delete them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from cli import composition, output
from cli.commands.base import EXIT_CODES, Json, add_group
from cli.layout import Labelled, Rows
from cli.parsing import seconds_of
from cli.progress import TerminalProgress
from operations.printable import age_text, counted, printable, readable
from operations.signals import stop_on_signals
from worker.errors import CliError, ExitCode, UsageError

if TYPE_CHECKING:
    from operations.dead_letters.filter import LetterFilter
    from operations.dead_letters.letter import Letter
    from operations.dead_letters.listing import Group, Listing
    from worker.connections import Aws

NO_SUCH_LETTER = "dead letter not found"
LETTER = "dead letter"
IDS_ADVICE = "run `user-worker dlq list --each` for the ids"

dlq = add_group(
    "dlq",
    "Inspect, redrive and delete dead letters.\n\n"
    "\b\n"
    "[bold]Examples[/bold]\n"
    "  user-worker dlq list\n"
    "  user-worker dlq show MESSAGE_ID\n"
    "  user-worker dlq redrive --reason Unavailable --dry-run\n"
    "  user-worker dlq purge --reason NotJson --older-than 3d\n\n"
    "A dead letter is hidden from other consumers until the command ends.",
)

Reasons = Annotated[
    list[str] | None,
    typer.Option("--reason", "-r", metavar="CODE", help="Only this error_code. Repeatable."),
]
Commands = Annotated[
    list[str] | None,
    typer.Option("--type", "-t", metavar="COMMAND", help="Only this command type. Repeatable."),
]
OlderThan = Annotated[
    str | None,
    typer.Option("--older-than", metavar="AGE", help="Only older than: 90s, 10m, 2h, 3d."),
]
NewerThan = Annotated[
    str | None, typer.Option("--newer-than", metavar="AGE", help="Only newer than.")
]
Ids = Annotated[
    list[str] | None,
    typer.Option("--id", metavar="ID", help="Only this message or command id. Repeatable."),
]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, metavar="N", help="Maximum number of dead letters.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the dead letters; change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def _filter(
    reasons: list[str] | None,
    commands: list[str] | None,
    older_than: str | None,
    newer_than: str | None,
    ids: list[str] | None,
    limit: int | None = None,
) -> LetterFilter:
    from operations.dead_letters.filter import LetterFilter

    return LetterFilter(
        reasons=reasons,
        commands=commands,
        older_than=None if older_than is None else seconds_of("--older-than", older_than),
        newer_than=None if newer_than is None else seconds_of("--newer-than", newer_than),
        ids=ids,
        limit=limit,
    )


# --- list ---


@dlq.command("list", epilog=EXIT_CODES)
def list_(
    reason: Reasons = None,
    command: Commands = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    ids: Ids = None,
    limit: Annotated[
        int, typer.Option(min=1, max=50_000, metavar="N", help="Maximum number to read.")
    ] = 1_000,
    each: Annotated[
        bool, typer.Option("--each", help="Print one line per dead letter, with ids.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Count dead letters by reason and command.

    \b
    [bold]Examples[/bold]
      user-worker dlq list
      user-worker dlq list --reason InvalidField --each
      user-worker dlq list --each --json | jq .command_id
    """
    from operations.dead_letters.listing import group_letters, list_letters

    wanted = _filter(reason, command, older_than, newer_than, ids)
    aws = composition.aws()
    with stop_on_signals():
        listing = list_letters(aws, wanted, limit, progress=TerminalProgress())
    letters, now = listing.letters, listing.now
    if as_json:
        rows = (
            [letter.facts(now) for letter in letters]
            if each
            else [group.facts() for group in group_letters(letters)]
        )
        output.print_json(*rows)
    elif letters:
        console = output.stdout()
        if each:
            for letter in letters:
                console.print(_line(letter, now))
        else:
            console.print(_group_table(group_letters(letters), now))
        verb = "matches" if len(letters) == 1 else "match"
        found = f"{len(letters)} of {counted(listing.looked_at, LETTER)} {verb}"
        console.print(f"\n{found}", style="dim")
    else:
        what = "none in the queue" if wanted.is_everything else "none matches"
        output.stdout().print(f"{counted(listing.looked_at, LETTER)} read: {what}")
    _print_unseen(listing)
    return ExitCode.OK


def _line(letter: Letter, now: float) -> Labelled:
    back = f"redriven {letter.stored.redrives}x" if letter.stored.redrives else ""
    words = (
        letter.reason,
        letter.command,
        letter.stored.detail,
        back,
    )
    label = Text(f"{printable(letter.message_id)}  {age_text(letter.age(now)):>4}  ")
    return Labelled(label, Text(printable("  ".join(word for word in words if word))))


def _group_table(groups: Iterable[Group], now: float) -> Rows:
    table = Rows(("reason", "command", "letters", "oldest", "newest", "redriven"))
    for each in groups:
        ages = [age_text(max(0.0, now - moment)) for moment in (each.oldest, each.newest)]
        back = f"{each.redrives}x" if each.redrives else "-"
        table.add(each.reason, each.command, str(each.count), *ages, back)
    return table


def _print_unseen(listing: Listing) -> None:
    """Print to standard error how many letters may exist that were not read."""
    console = output.stderr()
    if listing.depth.hidden:
        more = counted(listing.depth.hidden, "more is", "more are")
        console.print(f"{more} in flight at another consumer and not read", style="yellow")
    if not listing.complete:
        total = counted(listing.depth.visible, LETTER)
        text = f"read {listing.looked_at:,} of about {total}; raise --limit to read more"
        console.print(text, style="yellow")
    elif listing.behind:
        more = counted(listing.behind, "more is", "more are")
        text = f"about {more} hidden by SQS, while another of their FIFO group is in flight"
        console.print(text, style="yellow")


# --- show ---


@dlq.command(epilog=EXIT_CODES)
def show(
    message_id: Annotated[str, typer.Argument(metavar="ID", help="Message id or command id.")],
    as_json: Json = False,
) -> int:
    """Show one dead letter: its reason, and the values that are valid.

    Anything else is replaced by its type and length.

    \b
    [bold]Examples[/bold]
      user-worker dlq show 6f1c0f6e-4a53-4a0e-9d0c-7a3e5f0c9b11
    """
    from application.messages import Redactor
    from operations.dead_letters.filter import LetterFilter
    from operations.dead_letters.listing import list_letters

    wanted = LetterFilter(ids=[message_id], limit=1)
    aws = composition.aws()
    with stop_on_signals():
        listing = list_letters(aws, wanted, bodies=True, progress=TerminalProgress())
    if not listing.letters:
        if listing.depth.hidden:
            _print_unseen(listing)
        raise CliError(NO_SUCH_LETTER, IDS_ADVICE, ExitCode.NEGATIVE)
    letter = listing.letters[0]
    facts, attributes = letter.facts(listing.now), letter.attributes()
    body = letter.body(Redactor(aws.settings.roles))
    if as_json:
        facts |= {"attributes": attributes, "body": body}
        output.print_json(facts)
        return ExitCode.OK
    console = output.stdout()
    console.print(output.pairs({k: v for k, v in facts.items() if v not in {None, ""}}))
    if attributes:
        console.print("\nattributes", style="bold")
        console.print(output.pairs({name: str(value) for name, value in attributes.items()}))
    console.print("\nbody", style="bold")
    console.print(readable(body), markup=False, soft_wrap=True)  # as it is, to be copied
    return ExitCode.OK


# --- redrive and purge ---


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
        typer.Option(min=1, max=10_000, metavar="N", help="Maximum dead letters per second."),
    ] = None,
    move_task: Annotated[
        bool, typer.Option("--move-task", help="Let SQS move all dead letters; faster.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also those that cannot succeed (CommandIdReused).")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    edit: Annotated[
        str | None, typer.Option(metavar="TEXT", hidden=True, help="Not supported.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Redrive dead letters: send them back to their queue.

    Of a redacted dead letter, the original in the quarantine queue is sent; it
    stays if you may not read that queue.

    Their command ids stay the same, so no command is processed twice. So do their
    ages: a command that is too old by now is rejected as CommandExpired. With
    --move-task, SQS moves all of them by itself, if there is no filter and it
    supports that; dead letters that SQS itself moved here then lose their age.

    A command whose id belongs to another one (CommandIdReused) cannot succeed: it
    is left, unless --force or --move-task is used.

    \b
    [bold]Examples[/bold]
      user-worker dlq redrive --reason Unavailable --dry-run
      user-worker dlq redrive --reason Unavailable --yes
      user-worker dlq redrive --type BanUser --limit 10
    """
    from operations.dead_letters.redrive import redrive_letters

    wanted = _filter(reason, command, older_than, newer_than, ids, limit)
    if edit is not None:
        raise UsageError(
            "dead letters cannot be edited: a command id identifies its content",
            "send a new command with a new id, and delete this one with `dlq purge --id`",
        )
    aws = composition.aws()
    only: frozenset[str] | None = None
    if dry_run or not yes:
        ask_for = None if dry_run else "a redrive"
        only = _preview(
            aws, wanted, "would be redriven", ask_for=ask_for, redriving=True, force=force
        )
        if dry_run or not only:
            _print_done(as_json=as_json, redriven=0, method="none", would_redrive=len(only))
            return ExitCode.OK
        typer.confirm(f"Redrive {counted(len(only), LETTER)}?", abort=True, err=True)
    with stop_on_signals():
        done = redrive_letters(
            aws,
            wanted,
            only=only,
            rate=rate,
            move_task=move_task,
            force=force,
            progress=TerminalProgress(),
        )
    result = done.result
    if yes and done.forecast:  # else it was printed before the confirmation
        output.stderr().print(done.forecast, style="yellow")
    if not done.without_original and not done.hopeless:
        _require_named(wanted, result.done)
    text = f"{counted(result.done, LETTER)} redriven"
    _print_done(
        text,
        as_json=as_json,
        redriven=result.done,
        method=done.method,
        without_original=done.without_original,
        **({"cannot_succeed": done.hopeless} if done.hopeless else {}),
    )
    named_and_left = bool(wanted.ids and done.hopeless)
    all_done = result.complete and not done.without_original and not named_and_left
    return ExitCode.OK if all_done else ExitCode.NEGATIVE


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
    """Delete dead letters permanently, with their originals in the quarantine queue.

    If you may not read that queue, the originals expire there.
    Without --yes, their number must be typed as confirmation.

    \b
    [bold]Examples[/bold]
      user-worker dlq purge --reason NotJson --dry-run
      user-worker dlq purge --reason NotJson --older-than 3d --yes
    """
    from operations.dead_letters.delete import delete_letters

    wanted = _filter(reason, command, older_than, newer_than, ids, limit)
    aws = composition.aws()
    only: frozenset[str] | None = None
    if dry_run or not yes:
        only = _preview(aws, wanted, "would be deleted", ask_for=None if dry_run else "a purge")
        if dry_run or not only:
            _print_done(as_json=as_json, deleted=0, would_delete=len(only))
            return ExitCode.OK
        prompt = f"This cannot be undone. Type {len(only)} to delete them"
        if typer.prompt(prompt, err=True).strip() != str(len(only)):
            raise CliError("nothing was deleted: the number does not match", "", ExitCode.NEGATIVE)
    with stop_on_signals():
        result, originals, left = delete_letters(
            aws, wanted, only=only, progress=TerminalProgress()
        )
    _require_named(wanted, result.done)
    text = f"{counted(result.done, LETTER)} deleted"
    _print_done(
        f"{text}, {originals} with the original" if originals else text,
        as_json=as_json,
        deleted=result.done,
        originals_deleted=originals,
        originals_left=left,
    )
    return ExitCode.OK if result.complete else ExitCode.NEGATIVE


def _preview(
    aws: Aws,
    wanted: LetterFilter,
    fate: str,
    *,
    ask_for: str | None,
    redriving: bool = False,
    force: bool = False,
) -> frozenset[str]:
    """Print which letters match and what would happen to them; return their ids.

    Raises:
        UsageError: a confirmation of `ask_for` is needed, and there is no terminal.
        CliError: none of the given ids was found.
    """
    from operations.dead_letters.forecast import HOPELESS, Forecast, hopeless_text
    from operations.dead_letters.listing import group_letters, list_letters

    if ask_for:
        _require_terminal(ask_for)
    with stop_on_signals():
        listing = list_letters(aws, wanted, progress=TerminalProgress())
    letters = listing.letters
    console = output.stderr()
    if letters:
        console.print(_group_table(group_letters(letters), listing.now))
    redacted = sum(letter.redacted for letter in letters)
    if redacted:
        text = counted(
            redacted, "is redacted: its original is", "are redacted: their originals are"
        )
        console.print(f"{text} in the quarantine queue", style="yellow")
    _require_named(wanted, len(letters))
    if redriving and not force:
        letters = [letter for letter in letters if letter.reason != HOPELESS]
        if hopeless := len(listing.letters) - len(letters):
            console.print(f"{hopeless_text(hopeless)}, or use --force", style="yellow")
    forecast = Forecast()
    for letter in letters:
        forecast.add(letter)
    if forecast.text and redriving:
        console.print(forecast.text, style="yellow")
    console.print(f"{len(letters)} of {counted(listing.looked_at, LETTER)} {fate}")
    if wanted.limit is None:
        _print_unseen(listing)
    return frozenset(letter.message_id for letter in letters)


def _require_terminal(action: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(
            f"{action} must be confirmed on a terminal",
            "use --yes, or --dry-run to show the dead letters",
        )


def _require_named(wanted: LetterFilter, count: int) -> None:
    if wanted.ids and not count:
        raise CliError(NO_SUCH_LETTER, IDS_ADVICE, ExitCode.NEGATIVE)


def _print_done(text: str = "", *, as_json: bool, **facts: object) -> None:
    """Print the facts as JSON, or the text if there is one."""
    if as_json:
        output.print_json(facts)
    elif text:
        output.stdout().print(text)
