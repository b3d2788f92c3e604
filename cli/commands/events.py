"""`user-worker events`: follow a topic live."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import composition, output
from cli.commands.base import EXIT_CODES, MESSAGES, Json, app
from cli.progress import TerminalProgress
from operations.signals import stop_on_signals
from worker.errors import ExitCode, UsageError


def categories(incomplete: str) -> list[str]:
    """Return the categories of events with this prefix."""
    from domain.events import EVENTS

    known = sorted({event.category for event in EVENTS.values()})
    return [name for name in known if name.startswith(incomplete)]


@app.command(epilog=EXIT_CODES, rich_help_panel=MESSAGES)
def events(
    category: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Only this category: registration, profile, ..., command.",
            autocompletion=categories,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Exit after this many events.")
    ] = None,
    personal: Annotated[
        bool,
        typer.Option(
            "--personal", help="Follow the personal topic: only events with e-mail addresses."
        ),
    ] = False,
    as_json: Json = False,
) -> int:
    """Show events as they are published, until Ctrl-C.

    Subscribes a temporary queue to the topic, and deletes it at the end.
    The ordinary topic carries all events, without e-mail addresses.

    \b
    [bold]Examples[/bold]
      user-worker events
      user-worker events --category command --json | jq .data.code
    """
    from cli.rendering import print_event
    from operations.event_tail import EventTail, follow_events

    known = categories("")
    if category is not None and category not in known:
        raise UsageError(f"unknown category {category!r}", f"choose one of {', '.join(known)}")
    aws = composition.aws()
    name = aws.settings.personal_topic if personal else aws.settings.events_topic
    topic_arn = aws.personal_topic_arn if personal else aws.topic_arn
    printed = 0
    try:
        with stop_on_signals(), EventTail(aws.sqs, aws.sns, topic_arn, category) as tail:
            output.stderr().print(f"following {name}; Ctrl-C stops", style="dim")
            received = follow_events(tail, TerminalProgress())
            while limit is None or printed < limit:
                event = next(received)
                if as_json:
                    output.print_json(event.attributes)
                else:
                    print_event(event)
                printed += 1
    except KeyboardInterrupt:
        pass  # the normal way to stop
    return ExitCode.OK
