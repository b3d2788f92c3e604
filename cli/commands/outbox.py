"""`user-worker outbox`: list events that are committed but not published yet, and publish them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

import typer
from rich.text import Text

from cli import composition, output
from cli.commands.base import EXIT_CODES, Json, User, add_group
from cli.layout import Labelled
from cli.parsing import parse_id_option
from cli.progress import TerminalProgress
from operations.printable import age_text, counted, printable
from operations.signals import stop_on_signals
from worker.errors import CliError, ExitCode

SHOWN_USERS = 2
"""Maximum users whose ids are shown on a line."""

outbox = add_group(
    "outbox",
    "List unpublished events, and publish them.\n\n"
    "\b\n"
    "[bold]Examples[/bold]\n"
    "  user-worker outbox list --parked\n"
    "  user-worker outbox publish --parked\n\n"
    "Workers publish them automatically, and never delete an unpublished event.",
)


@outbox.command("list", epilog=EXIT_CODES)
def list_(
    user: User = None,
    parked: Annotated[bool, typer.Option("--parked", help="Only parked entries.")] = False,
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="Maximum number of entries.")
    ] = 1_000,
    as_json: Json = False,
) -> int:
    """List entries, oldest first in each shard, then parked entries.

    \b
    [bold]Examples[/bold]
      user-worker outbox list
      user-worker outbox list --parked --json | jq .parked_because
    """
    from operations.outbox import entry_facts, list_entries

    user_id = None if user is None else parse_id_option(user, "--user")
    aws = composition.aws()
    now = datetime.now(UTC)
    entries = list(islice(list_entries(aws, user_id=user_id, parked=parked), limit + 1))
    rows = [entry_facts(entry, now) for entry in entries[:limit]]
    if as_json:
        output.print_json(*rows)
    elif rows:
        console = output.stdout()
        for row in rows:
            console.print(_line(row))
    else:
        output.stdout().print(
            "no entries found" if not user_id else "no entries of this user found"
        )
    if len(entries) > limit:
        output.stderr().print("there are more entries: raise --limit", style="yellow")
    return ExitCode.OK


def _line(row: dict[str, object]) -> Labelled:
    users = row["user_ids"]
    names = [str(each) for each in users] if isinstance(users, list) else []
    more = f" and {len(names) - SHOWN_USERS} more" if len(names) > SHOWN_USERS else ""
    reason = row.get("parked_because")
    words = (
        f"{'final ' if row.get('final') else ''}{row['kind']} of {row['commands']}",
        f"users {', '.join(names[:SHOWN_USERS])}{more}" if names else "",
        _attempts(row),
        f"parked: {reason}" if reason else f"shard {row['shard']}",
    )
    age = row.get("age_seconds")
    text = age_text(age) if isinstance(age, float) else "-"
    label = Text(f"{printable(str(row['id']))}  {text:>4}  ")
    return Labelled(label, Text(printable("  ".join(word for word in words if word))))


def _attempts(row: dict[str, object]) -> str:
    attempts = row.get("attempts")
    return f"failed {counted(attempts, 'time')}" if isinstance(attempts, int) and attempts else ""


@outbox.command(epilog=EXIT_CODES)
def publish(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Only these entries, of any age.")
    ] = None,
    parked: Annotated[bool, typer.Option("--parked", help="Also retry parked entries.")] = False,
    now: Annotated[
        bool, typer.Option("--now", help="Also entries that their worker may still publish.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Publish entries now instead of waiting for the relay.

    Subscribers may receive an event twice, with the same id. Scrub jobs of
    erased users are left to the workers.

    \b
    [bold]Examples[/bold]
      user-worker outbox publish
      user-worker outbox publish --parked
    """
    from operations.outbox import FOR_WORKERS, publish_entries

    aws = composition.aws()
    with _warnings_on_standard_error(), stop_on_signals():
        published = publish_entries(
            aws, frozenset(ids or ()), parked=parked, now=now, progress=TerminalProgress()
        )
    words = ("done", "parked", "left", "unreadable", FOR_WORKERS)
    counts = {word: published.counts[word] for word in words}
    if published.entries or not published.unknown:
        if as_json:
            output.print_json(counts)
        else:
            texts = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
            texts = texts.replace("_", " ")
            text = (
                f"of {counted(published.entries, 'entry', 'entries')}: {texts}"
                if texts
                else "nothing to publish"
            )
            output.stdout().print(text)
    if counts["left"]:
        raise CliError(
            f"{counted(counts['left'], 'entry', 'entries')} could not be published",
            "run `user-worker doctor` for the reason",
        )
    if counts["parked"] or counts["unreadable"]:
        advice = "run `user-worker outbox list` for the reasons"
        raise CliError("not all entries could be published", advice, ExitCode.NEGATIVE)
    if published.unknown:
        advice = "run `user-worker outbox list` for the ids"
        text = counted(len(published.unknown), "of the given ids is", "of the given ids are")
        raise CliError(f"{text} not in the outbox", advice, ExitCode.NEGATIVE)
    return ExitCode.OK


@contextmanager
def _warnings_on_standard_error() -> Iterator[None]:
    """Write the relay's warnings to standard error, and discard other log lines."""
    import structlog

    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        yield
    finally:
        structlog.configure(**before)
