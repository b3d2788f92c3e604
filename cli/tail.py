"""Follow the topic through a temporary queue."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Self

from adapters.sns.subscription import LONGEST_POLL, TAIL, QueueReader, TopicSubscription
from cli.received import ReceivedEvent

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient


class EventTail:
    """A temporary subscription to a topic, for as long as the `with` block lasts."""

    def __init__(
        self, sqs: SQSClient, sns: SNSClient, topic_arn: str, category: str | None = None
    ) -> None:
        """Follow a topic, or one category of its events."""
        wanted = None if category is None else {"category": [category]}
        self._subscription = TopicSubscription(sqs, sns, topic_arn, TAIL, wanted=wanted)
        self._reader: QueueReader | None = None
        self.seen: set[str] = set()
        """Ids of the events so far: SNS and SQS may both deliver twice."""

    def __enter__(self) -> Self:
        """Create queue and subscription; on any failure, none is left."""
        self._reader = self._subscription.open()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove both, also when the other end is gone already."""
        self._subscription.close()

    def renew_if_lost(self) -> None:
        """Make queue and subscription anew if they are lost; errors as `TopicSubscription`'s."""
        if renewed := self._subscription.renew_if_lost():
            self._reader = renewed[0]

    def poll(self, wait: int = LONGEST_POLL) -> list[ReceivedEvent]:
        """Wait up to `wait` seconds for events, and return those not seen before."""
        assert self._reader is not None, "to be used in a with block"
        bodies = self._reader.poll(wait)
        now = time.monotonic()
        events = []
        for body in bodies:
            with contextlib.suppress(ValueError):  # others may publish to the topic, too
                event = ReceivedEvent.parse(body, now)
                if event.id not in self.seen:
                    self.seen.add(event.id)
                    events.append(event)
        return events
