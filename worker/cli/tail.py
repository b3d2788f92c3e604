"""Follows the topic through a queue of its own, which goes away when the following ends."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from botocore.exceptions import BotoCoreError, ClientError

from worker.cli.received import ReceivedEvent
from worker.settings import FIFO_SUFFIX

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

RETENTION = 3_600
"""Seconds; should this program be killed, what nobody reads is at least not kept for days."""
LONGEST_POLL = 20


class EventTail:
    """A temporary subscription to a topic, for as long as the `with` block lasts."""

    def __init__(
        self, sqs: SQSClient, sns: SNSClient, topic_arn: str, category: str | None = None
    ) -> None:
        """Follow a topic, or one category of its events."""
        self._sqs = sqs
        self._sns = sns
        self._topic_arn = topic_arn
        self._category = category
        self._cleanup = contextlib.ExitStack()
        self._queue_url = ""
        self.seen: set[str] = set()
        """Ids of the events so far: SNS and SQS may both deliver twice."""

    def __enter__(self) -> Self:
        """Create queue and subscription; on any failure, none is left."""
        with contextlib.ExitStack() as undo:
            self._create(undo)
            self._cleanup = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove both, also when the other end is gone already."""
        self._cleanup.close()

    def _create(self, undo: contextlib.ExitStack) -> None:
        fifo = self._topic_arn.endswith(FIFO_SUFFIX)
        name = f"user-worker-tail-{uuid.uuid4().hex[:12]}{FIFO_SUFFIX if fifo else ''}"
        attributes: dict[QueueAttributeNameType, str] = {"MessageRetentionPeriod": str(RETENTION)}
        if fifo:
            attributes["FifoQueue"] = "true"
        self._queue_url = self._sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        undo.callback(_quietly, lambda: self._sqs.delete_queue(QueueUrl=self._queue_url))
        queue_arn = self._sqs.get_queue_attributes(
            QueueUrl=self._queue_url, AttributeNames=["QueueArn"]
        )["Attributes"]["QueueArn"]
        self._sqs.set_queue_attributes(
            QueueUrl=self._queue_url, Attributes={"Policy": self._policy(queue_arn)}
        )
        wanted = {"RawMessageDelivery": "true"}
        if self._category:
            wanted["FilterPolicy"] = json.dumps({"category": [self._category]})
        subscription = self._sns.subscribe(
            TopicArn=self._topic_arn,
            Protocol="sqs",
            Endpoint=queue_arn,
            Attributes=wanted,
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
        undo.callback(_quietly, lambda: self._sns.unsubscribe(SubscriptionArn=subscription))

    def _policy(self, queue_arn: str) -> str:
        """Let this topic, and nobody else, write to the queue."""
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": queue_arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": self._topic_arn}},
        }
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

    def poll(self, wait: int = LONGEST_POLL) -> list[ReceivedEvent]:
        """Wait up to `wait` seconds for events; give those not seen before, none if none came."""
        answer = self._sqs.receive_message(
            QueueUrl=self._queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=wait
        )
        now = time.monotonic()
        messages = answer.get("Messages", [])
        if messages:
            self._sqs.delete_message_batch(
                QueueUrl=self._queue_url,
                Entries=[
                    {"Id": str(index), "ReceiptHandle": message.get("ReceiptHandle", "")}
                    for index, message in enumerate(messages)
                ],
            )
        events = []
        for message in messages:
            with contextlib.suppress(ValueError):  # others may publish to the topic, too
                event = ReceivedEvent.parse(message.get("Body", ""), now)
                if event.id not in self.seen:
                    self.seen.add(event.id)
                    events.append(event)
        return events


def _quietly(remove: Callable[[], object]) -> None:
    with contextlib.suppress(BotoCoreError, ClientError):
        remove()
