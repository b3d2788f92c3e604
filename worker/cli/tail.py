"""Follows the topic through a queue of its own, which goes away when the following ends."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Self

from adapters.subscription import LONGEST_POLL, TAIL, QueueReader, temporary_subscription
from worker.cli.received import ReceivedEvent

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
        self._subscription = temporary_subscription(sqs, sns, topic_arn, TAIL, wanted=wanted)
        self._cleanup = contextlib.ExitStack()
        self._reader: QueueReader | None = None
        self.seen: set[str] = set()
        """Ids of the events so far: SNS and SQS may both deliver twice."""

    def __enter__(self) -> Self:
        """Create queue and subscription; on any failure, none is left."""
        self._reader = self._cleanup.enter_context(self._subscription)
        return self

    def __exit__(self, *_: object) -> None:
        """Remove both, also when the other end is gone already."""
        self._cleanup.close()

    def poll(self, wait: int = LONGEST_POLL) -> list[ReceivedEvent]:
        """Wait up to `wait` seconds for events; give those not seen before, none if none came."""
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
