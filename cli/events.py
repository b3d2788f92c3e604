"""`user-worker events`: follow the topic live."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from adapters.aws.client import error_code
from cli import composition, output
from cli.received import ReceivedEvent
from cli.tail import EventTail
from domain.events import EVENTS
from operations.signals import stop_on_signals
from worker.cli_errors import is_refusal
from worker.errors import ExitCode, UsageError

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
"""Seconds between two tries to receive, doubled from one to the other."""
CHECK_EVERY = 60.0
"""Seconds between two checks of queue and subscription; the next one follows each error."""


def follow(*, category: str | None, limit: int | None, as_json: bool) -> int:
    """Print events as they come, until stopped or until `limit` of them are printed."""
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
            events = _followed(tail)
            while limit is None or printed < limit:
                show(next(events), as_json=as_json)
                printed += 1
    except KeyboardInterrupt:
        pass  # the way to end it
    return ExitCode.OK


def _followed(tail: EventTail) -> Iterator[ReceivedEvent]:
    """Yield events; go on after any error but a refusal, with a queue made anew if it is lost."""
    pause, checked = FIRST_PAUSE, time.monotonic()
    while True:
        try:
            if time.monotonic() - checked >= CHECK_EVERY:
                checked = time.monotonic()
                tail.renew_if_lost()
            events = tail.poll()
        except Exception as error:
            if is_refusal(error):
                raise
            if pause == FIRST_PAUSE:
                output.stderr().print(
                    f"events cannot be received ({error_code(error)}): trying again", style="dim"
                )
            time.sleep(pause)
            pause, checked = min(2 * pause, LONGEST_PAUSE), -CHECK_EVERY
            continue
        pause = FIRST_PAUSE
        yield from events


def show(event: ReceivedEvent, *, as_json: bool) -> None:
    """Print one event."""
    if as_json:
        sys.stdout.write(output.json_line(event.attributes) + "\n")
        sys.stdout.flush()
    else:
        output.print_event(event)
