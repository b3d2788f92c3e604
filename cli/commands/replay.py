"""`user-worker replay`: send stored or sample events to one queue."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli import composition, output
from cli.commands.base import EXIT_CODES, MESSAGES, Json, User, app
from cli.parsing import parse_id_option
from operations.printable import counted
from operations.signals import stop_on_signals
from worker.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from application.ports import EventMessage
    from operations.replay import Selection
    from worker.connections import Aws


@app.command(epilog=EXIT_CODES, rich_help_panel=MESSAGES)
def replay(
    queue: Annotated[str, typer.Option(metavar="NAME", help="Queue of the subscriber.")],
    user: User = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Events from this time on, in RFC 3339."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Events before this time, in RFC 3339."),
    ] = None,
    samples: Annotated[
        bool, typer.Option("--samples", help="Events of the life of an invented user.")
    ] = False,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="NAME", help="Only this event, such as UserBanned."),
    ] = None,
    personal: Annotated[
        bool,
        typer.Option("--personal", help="What the personal topic carries, with e-mail addresses."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count the events; send nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> int:
    """Send stored or sample events to one subscriber's queue.

    The events are those of --user, of a time range, or --samples, in the form of
    raw message delivery. Stored events keep their ids, so that a subscriber
    ignores those that it knows. A time range reads the whole table.

    \b
    [bold]Examples[/bold]
      user-worker replay --queue user-events-to-crm --user USER_ID
      user-worker replay --queue user-events-to-crm --since 2026-11-29T00:00:00Z
      user-worker replay --queue user-events-to-crm --samples --yes
    """
    from operations.replay import send_events

    wanted = _selection(user, since, until, types, personal=personal)
    if samples == bool(user or since or until):
        raise UsageError("no events are chosen", "use --user, --since, --until or --samples")
    if not (dry_run or yes or sys.stdin.isatty()):
        raise UsageError("replay must be confirmed on a terminal", "use --yes or --dry-run")
    aws = composition.aws()
    with stop_on_signals():
        if dry_run or not yes:
            aws.queue_url(queue)
            counts = Counter(message.type for message in _events(aws, wanted, samples=samples))
            for kind, count in sorted(counts.items()):
                output.stderr().print(f"{count} {kind}", markup=False)
            if dry_run:
                return _print_done(counts.total(), sent=False, as_json=as_json)
            typer.confirm(
                f"Send {counted(counts.total(), 'event')} to {queue}?", abort=True, err=True
            )
        sent = send_events(aws, queue, _events(aws, wanted, samples=samples))
    return _print_done(sent, sent=True, as_json=as_json)


def _events(aws: Aws, wanted: Selection, *, samples: bool) -> Iterator[EventMessage]:
    from operations.replay import sample_events, stored_events

    return sample_events(wanted) if samples else stored_events(aws, wanted)


def _selection(
    user: str | None,
    since: str | None,
    until: str | None,
    names: list[str] | None,
    *,
    personal: bool,
) -> Selection:
    from domain.events import EVENTS
    from operations.replay import Selection

    by_name = {event.__name__: kind for kind, event in EVENTS.items()}
    for name in names or ():
        if name not in by_name:
            raise UsageError(
                f"unknown event {name!r}", "docs/reference/messages.md lists the events"
            )
    return Selection(
        user_id=None if user is None else parse_id_option(user, "--user"),
        since=_time("--since", since),
        until=_time("--until", until),
        types=frozenset(by_name[name] for name in names or ()),
        personal=personal,
    )


def _time(option: str, text: str | None) -> datetime | None:
    from domain.errors import InvalidValueError
    from domain.values import parse_time

    try:
        return None if text is None else parse_time(text)
    except InvalidValueError as error:
        raise UsageError(f"{option} {error}", "write it like 2026-11-30T09:00:00Z") from None


def _print_done(count: int, *, sent: bool, as_json: bool) -> int:
    if as_json:
        output.print_json({"sent": count if sent else 0, "events": count})
    else:
        output.stdout().print(f"{counted(count, 'event')} {'sent' if sent else 'found, none sent'}")
    return ExitCode.OK
