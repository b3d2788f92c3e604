"""Find temporary queues and subscriptions, and remove those left behind by a killed process.

SQS does not report whether a queue has a reader. The reader of a temporary queue receives every
message within seconds, so a queue where a message (at least our own probe) stays for a minute has
no reader.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from botocore.exceptions import ClientError

from adapters.aws.client import error_code
from adapters.sns.subscription import PURPOSES
from adapters.sqs.command_queue import MISSING
from application.queue_port import FIFO_SUFFIX
from operations.printable import counted
from operations.progress import NO_PROGRESS, Progress
from worker.connections import Aws

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

NAME: Final = re.compile(rf"(?:{'|'.join(PURPOSES)})-[0-9a-f]{{12}}(?:\.fifo)?")
"""Pattern of the names that `temporary_subscription` gives to queues, unlikely to match others."""
PATIENCE: Final = 60.0
"""Seconds within which a queue's reader must have received the probe.

A reader polls continuously, or pauses 10 s after a failed call.
"""
PROBE: Final = '{"probe":"is this queue read?"}'
"""Not an event: every receiver ignores it."""
WAIT = 1
"""Seconds of long polling: without it, a receive does not query all servers of SQS."""
PEEKS: Final = 5
"""Receives per queue, of ten messages each: there may be many before the probe."""


@dataclass(frozen=True, slots=True)
class TemporaryQueue:
    """Temporary queue of `events`, `--wait` or `OutcomeListener`."""

    name: str
    url: str
    arn: str
    made_at: float
    """Seconds since the epoch."""
    waiting: int
    """Approximate number of messages."""


class TemporaryQueues:
    """Temporary queues of an account, and their subscriptions to the topics."""

    def __init__(self, sqs: SQSClient, sns: SNSClient) -> None:
        self._sqs = sqs
        self._sns = sns

    def queues(self, most: int | None = None) -> Iterator[TemporaryQueue]:
        """Yield all temporary queues, or at most `most` of them, whether or not they have a reader.

        Raises:
            ClientError: SQS returned an error (or a BotoCoreError: no answer); so do all methods.
        """
        pages = self._sqs.get_paginator("list_queues")
        found = 0
        for prefix in PURPOSES:
            for page in pages.paginate(QueueNamePrefix=f"{prefix}-"):
                for url in page.get("QueueUrls", ()):
                    if found == most:
                        return
                    queue = self._described(url)
                    if queue is not None:
                        found += 1
                        yield queue

    def _described(self, url: str) -> TemporaryQueue | None:
        name = url.rpartition("/")[2]
        if not NAME.fullmatch(name):
            return None
        names: Any = ["QueueArn", "CreatedTimestamp", "ApproximateNumberOfMessages"]
        answer = _unless_missing(self._sqs.get_queue_attributes, QueueUrl=url, AttributeNames=names)
        if answer is None:  # the queue was just deleted
            return None
        arn, made_at, waiting = (answer["Attributes"][each] for each in names)
        return TemporaryQueue(name, url, arn, float(made_at), int(waiting))

    def unread(
        self, queues: Sequence[TemporaryQueue], pause: Callable[[float], object] = time.sleep
    ) -> list[TemporaryQueue]:
        """Return the queues without a reader: send a probe to each, and check again after a minute.

        A queue that then contains neither the probe nor an older message is considered to have a
        reader.
        """
        before = {queue.url: self._peek(queue) for queue in queues}
        probes = {queue.url: self._probe(queue) for queue in queues}
        if queues:
            pause(PATIENCE)
        return [
            queue
            for queue in queues
            if self._still_there(
                queue, probes[queue.url], max(before[queue.url].values(), default=0)
            )
        ]

    def _probe(self, queue: TemporaryQueue) -> str | None:
        fifo = {"MessageGroupId": "probe", "MessageDeduplicationId": str(uuid4())}
        more: Any = fifo if queue.url.endswith(FIFO_SUFFIX) else {}
        send = self._sqs.send_message
        answer = _unless_missing(send, QueueUrl=queue.url, MessageBody=PROBE, **more)
        return None if answer is None else str(answer["MessageId"])

    def _still_there(self, queue: TemporaryQueue, probe: str | None, newest: int) -> bool:
        for _ in range(PEEKS if probe else 0):
            seen = self._peek(queue)
            if probe in seen or any(sent_at <= newest for sent_at in seen.values()):
                return True
            if not seen:
                break
        return False

    def _peek(self, queue: TemporaryQueue) -> Mapping[str, int]:
        """Receive up to ten messages, which stay visible; return when each was sent, by its id."""
        answer = _unless_missing(
            self._sqs.receive_message,
            QueueUrl=queue.url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=0,
            WaitTimeSeconds=WAIT,
            MessageSystemAttributeNames=["SentTimestamp"],
        )
        return {
            row["MessageId"]: int(row["Attributes"]["SentTimestamp"])
            for row in (answer or {}).get("Messages") or ()
        }

    def subscriptions(self, *topic_arns: str) -> dict[str, str]:
        """Return the subscriptions of temporary queues to topics, by the ARN of the queue."""
        pages: Any = self._sns.get_paginator("list_subscriptions_by_topic")
        rows = (
            row
            for arn in topic_arns
            for page in pages.paginate(TopicArn=arn)
            for row in page["Subscriptions"]
        )
        return {
            row["Endpoint"]: row["SubscriptionArn"]
            for row in rows
            if row["SubscriptionArn"].startswith("arn:")  # else it is deleted, or pending
            and NAME.fullmatch(row["Endpoint"].rpartition(":")[2])
        }

    def orphans(self, subscriptions: Mapping[str, str], beside: str) -> dict[str, str]:
        """Return subscriptions without a queue, of the account and region of the ARN `beside`."""
        place = beside.rpartition(":")[0]
        ours = {arn: each for arn, each in subscriptions.items() if arn.rpartition(":")[0] == place}
        return {arn: each for arn, each in ours.items() if not self._exists(arn)}

    def _exists(self, arn: str) -> bool:
        name = arn.rpartition(":")[2]
        return _unless_missing(self._sqs.get_queue_url, QueueName=name) is not None


def _unless_missing(call: Callable[..., Any], **parameters: Any) -> Any:
    """Make a call; return `None` if its queue does not exist."""
    try:
        return call(**parameters)
    except ClientError as error:
        if error_code(error) in MISSING:
            return None
        raise


@dataclass(frozen=True, slots=True)
class Removed:
    """Number of queues and subscriptions that were removed."""

    queues: int
    subscriptions: int


def remove_orphans(
    aws: Aws, queues: Sequence[TemporaryQueue], progress: Progress = NO_PROGRESS
) -> Removed:
    """Remove those of the queues that have no reader, and all subscriptions without a queue."""
    temporary = TemporaryQueues(aws.sqs, aws.sns)
    # read before the queues are checked again: each of these subscriptions has or had a queue
    subscriptions = temporary.subscriptions(aws.topic_arn, aws.personal_topic_arn)
    if queues:
        some = counted(len(queues), "queue")
        progress.note(f"waiting {PATIENCE:.0f} s to see which of {some} a process reads")
    unread = temporary.unread(queues)
    for queue in unread:
        if subscription := subscriptions.pop(queue.arn, None):
            aws.sns.unsubscribe(SubscriptionArn=subscription)
        _unless_missing(aws.sqs.delete_queue, QueueUrl=queue.url)
    orphans = temporary.orphans(subscriptions, aws.command_queue_arn)
    for subscription in orphans.values():
        aws.sns.unsubscribe(SubscriptionArn=subscription)
    return Removed(len(unread), len(orphans))
