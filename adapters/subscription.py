"""A topic followed through a queue of one's own.

https://docs.aws.amazon.com/sns/latest/dg/subscribe-sqs-queue-to-sns-topic.html
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, Literal

from botocore.exceptions import BotoCoreError, ClientError

from adapters.aws import FIFO_SUFFIX

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType
    from mypy_boto3_sqs.type_defs import DeleteMessageBatchRequestEntryTypeDef

RETENTION: Final = 3_600
"""Seconds; should this program be killed, what nobody reads is at least not kept for days."""
LONGEST_POLL: Final = 20
TAIL: Final = "user-worker-tail"
WAITING: Final = "user-worker-wait"
OUTCOMES: Final = "user-outcomes"
PURPOSES: Final = (TAIL, WAITING, OUTCOMES)
"""What names of temporary queues begin with: `events` and `dev`, `--wait`, `OutcomeListener`."""
FilterPolicy = Mapping[str, object]
"""https://docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html"""


class QueueReader:
    """Takes messages from one queue, for who keeps nothing of them: received is done."""

    def __init__(self, sqs: SQSClient, queue_url: str) -> None:
        """Read the queue of this URL, through a client that waits longer than the longest poll."""
        self._sqs = sqs
        self.queue_url = queue_url

    def poll(self, wait: int = LONGEST_POLL) -> list[str]:
        """Wait up to `wait` seconds (0-20) for messages, delete them, and give their bodies.

        One that could not be deleted comes again; so may any other.

        Raises:
            ClientError: AWS says no, or nothing (a BotoCoreError).
        """
        answer = self._sqs.receive_message(
            QueueUrl=self.queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=wait
        )
        messages = answer.get("Messages", [])
        if messages:
            entries: list[DeleteMessageBatchRequestEntryTypeDef] = [
                {"Id": str(index), "ReceiptHandle": message.get("ReceiptHandle", "")}
                for index, message in enumerate(messages)
            ]
            _quietly(
                lambda: self._sqs.delete_message_batch(QueueUrl=self.queue_url, Entries=entries)
            )
        return [message.get("Body", "") for message in messages]


@contextlib.contextmanager
def temporary_subscription(
    sqs: SQSClient,
    sns: SNSClient,
    topic: str,
    prefix: str,
    *,
    wanted: FilterPolicy | None = None,
    scope: Literal["MessageAttributes", "MessageBody"] = "MessageAttributes",
) -> Iterator[QueueReader]:
    """Follow a topic for as long as the block lasts; on any failure, nothing is left.

    Args:
        sqs: the client for queues.
        sns: the client for topics.
        topic: its ARN, or its name in the account and region of the client for queues.
        prefix: what the name of the queue begins with.
        wanted: a filter policy; everything, if left out.
        scope: what the filter policy looks at.

    Raises:
        ClientError: AWS says no, or nothing (a BotoCoreError).
    """
    with contextlib.ExitStack() as undo:
        fifo = topic.endswith(FIFO_SUFFIX)
        attributes: dict[QueueAttributeNameType, str] = {"MessageRetentionPeriod": str(RETENTION)}
        if fifo:
            attributes["FifoQueue"] = "true"
        name = f"{prefix}-{uuid.uuid4().hex[:12]}{FIFO_SUFFIX if fifo else ''}"
        url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        undo.callback(_quietly, lambda: sqs.delete_queue(QueueUrl=url))
        queue_arn = _queue_arn(sqs, url)
        topic_arn = topic if topic.startswith("arn:") else _beside(queue_arn, topic)
        policy = json.dumps(_let_in(topic_arn, queue_arn))
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
        filtering = {"FilterPolicy": json.dumps(wanted), "FilterPolicyScope": scope}
        subscription = sns.subscribe(
            TopicArn=topic_arn,
            Protocol="sqs",
            Endpoint=queue_arn,
            Attributes={"RawMessageDelivery": "true", **(filtering if wanted else {})},
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
        undo.callback(_quietly, lambda: sns.unsubscribe(SubscriptionArn=subscription))
        yield QueueReader(sqs, url)


def _queue_arn(sqs: SQSClient, url: str) -> str:
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return answer["Attributes"]["QueueArn"]


def _beside(queue_arn: str, topic: str) -> str:
    partition, _, region, account = queue_arn.split(":")[1:5]
    return f"arn:{partition}:sns:{region}:{account}:{topic}"


def _let_in(topic_arn: str, queue_arn: str) -> dict[str, object]:
    """Let this topic, and nobody else, write to the queue."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def _quietly(remove: Callable[[], object]) -> None:
    with contextlib.suppress(BotoCoreError, ClientError):
        remove()
