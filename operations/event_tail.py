"""Follow the topic through a temporary queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Self

from adapters.aws.client import error_code
from adapters.sns.subscription import LONGEST_POLL, TAIL, QueueReader, TopicSubscription
from application.backoff import Backoff
from operations.progress import NO_PROGRESS, Progress
from operations.received_event import ReceivedEvent, parse_events
from worker.cli_errors import is_refusal

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

BACKOFF = Backoff(0.5, 10.0)
"""Pauses between two attempts to receive, without jitter."""
REMEMBERED = 100_000
"""Maximum ids of events that are remembered."""
CHECK_EVERY = 60.0
"""Seconds between two checks of queue and subscription; a check also follows each error."""


class EventTail:
    """Temporary subscription to a topic, for the duration of the `with` block."""

    def __init__(
        self, sqs: SQSClient, sns: SNSClient, topic_arn: str, category: str | None = None
    ) -> None:
        wanted = None if category is None else {"category": [category]}
        self._subscription = TopicSubscription(sqs, sns, topic_arn, TAIL, wanted=wanted)
        self._reader: QueueReader | None = None
        self._seen: dict[str, None] = {}
        """Ids of the events received last: both SNS and SQS may deliver twice."""

    def __enter__(self) -> Self:
        """Create queue and subscription; after a failure, neither exists."""
        self._reader = self._subscription.open()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove queue and subscription, even if one of them no longer exists."""
        self._subscription.close()

    def renew_if_lost(self) -> None:
        """Create queue and subscription again if lost; raises the errors of `TopicSubscription`."""
        if renewed := self._subscription.renew_if_lost():
            self._reader = renewed[0]

    def poll(self, wait: int = LONGEST_POLL) -> list[ReceivedEvent]:
        """Wait up to `wait` seconds for events, and return those not seen before."""
        assert self._reader is not None, "use it in a with block"
        events = []
        for event in parse_events(self._reader.poll(wait)):
            if not event.id or event.id not in self._seen:
                self._seen[event.id] = None
                events.append(event)
        while len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return events


def follow_events(
    tail: EventTail,
    progress: Progress = NO_PROGRESS,
    ends: Callable[[], bool] = lambda: False,
    polled: Callable[[Exception | None], object] = lambda _: None,
) -> Iterator[ReceivedEvent]:
    """Yield events until `ends` returns True; continue after any error unless AWS refuses.

    `polled` receives the error of each poll, `None` if it succeeded.
    """
    failures, checked = 0, time.monotonic()
    while not ends():
        try:
            if time.monotonic() - checked >= CHECK_EVERY:
                checked = time.monotonic()
                tail.renew_if_lost()
            events = tail.poll()
        except Exception as error:
            polled(error)
            if is_refusal(error):
                raise
            failures += 1
            if failures == 1:
                progress.note(f"events cannot be received ({error_code(error)}): retrying")
            time.sleep(BACKOFF.ceiling(failures))
            checked = -CHECK_EVERY
            continue
        failures = 0
        polled(None)
        yield from events
