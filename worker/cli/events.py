"""`user-worker events`: the topic, followed live."""

from __future__ import annotations

import sys

from domain.events import EVENTS
from worker.cli import composition, output
from worker.cli.received import ReceivedEvent
from worker.cli.stopping import stop_on_signals
from worker.cli.tail import EventTail
from worker.errors import ExitCode, UsageError


def follow(*, category: str | None, limit: int | None, as_json: bool) -> int:
    """Print events as they come, until stopped or `limit` of them were printed."""
    known = sorted({event.category for event in EVENTS.values()})
    if category is not None and category not in known:
        raise UsageError(f"there is no category {category!r}", f"choose of {', '.join(known)}")
    aws = composition.aws()
    printed = 0
    try:
        with stop_on_signals(), EventTail(aws.sqs, aws.sns, aws.topic_arn, category) as tail:
            output.stderr().print(
                f"following {aws.settings.events_topic}; Ctrl-C ends it", style="dim"
            )
            while limit is None or printed < limit:
                for event in tail.poll()[: None if limit is None else limit - printed]:
                    show(event, as_json=as_json)
                    printed += 1
    except KeyboardInterrupt:
        pass  # the way to end it
    return ExitCode.OK


def show(event: ReceivedEvent, *, as_json: bool) -> None:
    """Print one event."""
    if as_json:
        sys.stdout.write(output.json_line(event.attributes) + "\n")
        sys.stdout.flush()
    else:
        output.print_event(event)
