"""A temporary queue that is subscribed to a topic.

https://docs.aws.amazon.com/sns/latest/dg/subscribe-sqs-queue-to-sns-topic.html, and
docs/adr/0027-a-queue-is-created-with-its-policy.md for the order of the calls.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, Literal

from botocore.exceptions import ClientError

from adapters.aws.client import error_code
from adapters.sqs.command_queue import MISSING
from application.queue_port import FIFO_SUFFIX, MAX_BATCH

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType
    from mypy_boto3_sqs.type_defs import DeleteMessageBatchRequestEntryTypeDef

RETENTION: Final = 3_600
"""Seconds; after a crash of this program, unread messages are not kept for days."""
LONGEST_POLL: Final = 20
USABLE_AFTER: Final = 1.0
"""Seconds after CreateQueue until the queue is usable, by AWS's documentation of CreateQueue."""
NEW_QUEUE_READS: Final = 30
"""Reads of a new queue's attributes, `USABLE_AFTER` seconds apart, before an error."""
TAIL: Final = "user-worker-tail"
WAITING: Final = "user-worker-wait"
OUTCOMES: Final = "user-outcomes"
PURPOSES: Final = (TAIL, WAITING, OUTCOMES)
"""Prefixes of temporary queue names: `events` and `dev`, `--wait`, `OutcomeListener`."""
FilterPolicy = Mapping[str, object]
"""https://docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html"""
_OTHER_ATTRIBUTES: Final = frozenset({"InvalidParameter", "InvalidParameterException"})
"""Subscribe's codes for a subscription that exists with other attributes, such as its filter."""


class NotSubscribedError(Exception):
    """AWS accepted the calls, but the subscription is not active; the message says why."""


class QueueReader:
    """Read one queue, deleting what it reads."""

    def __init__(self, sqs: SQSClient, queue_url: str) -> None:
        """Read the queue at this URL; the client's timeout must be longer than the longest poll."""
        self._sqs = sqs
        self.queue_url = queue_url

    def poll(self, wait: int = LONGEST_POLL) -> list[str]:
        """Wait up to `wait` seconds (0-20) for messages, delete them, and return their bodies.

        A message may come again, for example if it could not be deleted.

        Raises:
            ClientError: AWS refuses, or does not answer (a BotoCoreError).
            Exception: whatever else the SDK raises, such as RuntimeError for its credentials.
        """
        answer = self._sqs.receive_message(
            QueueUrl=self.queue_url, MaxNumberOfMessages=MAX_BATCH, WaitTimeSeconds=wait
        )
        messages = answer.get("Messages") or []
        if messages:
            entries: list[DeleteMessageBatchRequestEntryTypeDef] = [
                {"Id": str(index), "ReceiptHandle": message.get("ReceiptHandle", "")}
                for index, message in enumerate(messages)
            ]
            _quietly(
                lambda: self._sqs.delete_message_batch(QueueUrl=self.queue_url, Entries=entries)
            )
        return [message.get("Body", "") for message in messages]


class TopicSubscription:
    """A temporary queue, subscribed to a topic, that can be renewed if it is lost.

    Not thread-safe, except for `close`.
    """

    def __init__(
        self,
        sqs: SQSClient,
        sns: SNSClient,
        topic: str,
        prefix: str,
        *,
        wanted: FilterPolicy | None = None,
        scope: Literal["MessageAttributes", "MessageBody"] = "MessageAttributes",
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        """Set what to subscribe to; makes no call yet.

        Args:
            sqs: the client for queues.
            sns: the client for topics.
            topic: its ARN, or its name in the account and region of the client for queues.
            prefix: how the name of the queue begins.
            wanted: a filter policy; everything, if left out.
            scope: what the filter policy applies to.
            sleep: waits until a new queue is usable (`USABLE_AFTER` seconds); left out, there is no
                wait, and events published within the next second may be missed.
        """
        self._sqs = sqs
        self._sns = sns
        self._topic = topic
        self._prefix = prefix
        self._filter = {"FilterPolicy": json.dumps(wanted), "FilterPolicyScope": scope}
        self._attributes = {"RawMessageDelivery": "true", **(self._filter if wanted else {})}
        self._sleep = sleep
        self._queue_url = self._queue_arn = self._topic_arn = self._subscription = ""
        self._policy: object = None
        """The access policy as SQS returned it when the queue was new."""

    def open(self) -> QueueReader:
        """Create the queue and subscribe it; on any failure, delete what was created.

        The queue is created with its access policy, so that it accepts the topic's messages at
        once: a policy that is set later takes up to 60 s to take effect, and SNS does not retry a
        message that a queue refuses.

        Raises:
            ClientError: AWS refuses, or does not answer (a BotoCoreError).
            NotSubscribedError: the policy or the subscription is not active.
        """
        try:
            self._topic_arn = self._find_topic()
            self._queue_url = self._create_queue(json.dumps(_let_in(self._topic_arn)))
            if self._sleep is not None:
                self._sleep(USABLE_AFTER)
            self._queue_arn, self._policy = self._read_new_queue(with_policy=True)
            self._subscription = self._subscribe()
        except BaseException:
            self.close()
            raise
        return QueueReader(self._sqs, self._queue_url)

    def renew_if_lost(self) -> tuple[QueueReader, str] | None:
        """Check queue, policy and subscription; renew what is lost.

        Subscribe is also the check of the subscription: it returns the existing one, and otherwise
        creates it. A queue that is missing, or has another policy, is replaced: a policy that is
        set again would take up to 60 s to take effect.

        Returns:
            The reader to continue with and what was lost; `None` if nothing was.

        Raises:
            ClientError: AWS refuses, or does not answer (a BotoCoreError). The state is then
                unknown, or nothing could be renewed; the next call tries again.
        """
        lost = "the queue" if not self._queue_url else self._lost()
        if lost is None:
            return None
        if lost != "the subscription":
            self.close()
            return self.open(), lost
        return QueueReader(self._sqs, self._queue_url), lost

    def close(self) -> None:
        """Delete what was created, even if the topic or the queue is already gone."""
        subscription, self._subscription = self._subscription, ""
        url, self._queue_url = self._queue_url, ""
        if subscription:
            _quietly(lambda: self._sns.unsubscribe(SubscriptionArn=subscription))
        if url:
            _quietly(lambda: self._sqs.delete_queue(QueueUrl=url))

    def _lost(self) -> str | None:
        """Return what is lost, or `None`; a lost subscription is renewed at once."""
        previous = self._subscription
        try:
            if self._read_queue()[1] != self._policy:
                return "the queue's access policy"
            self._subscription = self._subscribe()
        except ClientError as error:
            if error_code(error) in MISSING:
                return "the queue"
            if error_code(error) in _OTHER_ATTRIBUTES:
                return "the subscription's attributes"
            raise
        return None if self._subscription == previous else "the subscription"

    def _find_topic(self) -> str:
        """Return the topic's ARN, which the access policy must name.

        The account of a topic that is given by name is unknown. The ARN of a queue contains it, so
        a queue is created and deleted again: asking STS, or listing topics, would need another
        endpoint or another permission.
        """
        if self._topic.startswith("arn:"):
            return self._topic
        self._queue_url = self._create_queue()
        arn = self._read_new_queue()[0]
        self.close()
        partition, _, region, account = arn.split(":")[1:5]
        return f"arn:{partition}:sns:{region}:{account}:{self._topic}"

    def _create_queue(self, policy: str | None = None) -> str:
        attributes: dict[QueueAttributeNameType, str] = {"MessageRetentionPeriod": str(RETENTION)}
        suffix = ""
        if self._topic.endswith(FIFO_SUFFIX):
            attributes["FifoQueue"], suffix = "true", FIFO_SUFFIX
        if policy is not None:
            attributes["Policy"] = policy
        name = f"{self._prefix}-{uuid.uuid4().hex[:12]}{suffix}"
        return self._sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]

    def _read_new_queue(self, *, with_policy: bool = False) -> tuple[str, object]:
        """Return ARN and policy; retries, because a new queue may not be found yet."""
        for attempt in range(NEW_QUEUE_READS):
            if attempt:
                (self._sleep or time.sleep)(USABLE_AFTER)
            try:
                arn, policy = self._read_queue()
            except ClientError as error:
                if error_code(error) not in MISSING:
                    raise
                continue
            if policy is not None or not with_policy:
                return arn, policy
        raise NotSubscribedError("SQS does not return the access policy of the new queue")

    def _read_queue(self) -> tuple[str, object]:
        names: list[QueueAttributeNameType] = ["QueueArn", "Policy"]
        answer = self._sqs.get_queue_attributes(QueueUrl=self._queue_url, AttributeNames=names)
        policy = answer["Attributes"].get("Policy")
        return answer["Attributes"]["QueueArn"], json.loads(policy) if policy else None

    def _subscribe(self) -> str:
        """Return the ARN of the subscription, creating it if it does not exist."""
        subscription = self._sns.subscribe(
            TopicArn=self._topic_arn,
            Protocol="sqs",
            Endpoint=self._queue_arn,
            Attributes=self._attributes,
        )["SubscriptionArn"]
        if not subscription.startswith("arn:"):  # "pending confirmation"
            raise NotSubscribedError("SNS requires confirmation of the subscription")
        return subscription


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
    """Read a topic while the block runs; see `TopicSubscription` for arguments and errors."""
    subscription = TopicSubscription(sqs, sns, topic, prefix, wanted=wanted, scope=scope)
    try:
        yield subscription.open()
    finally:
        subscription.close()


def _let_in(topic_arn: str) -> dict[str, object]:
    """Return a policy that allows only this topic to write to the queue.

    `*` stands for the queue that has the policy; its ARN is unknown before it is created.
    """
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": "*",
        "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def _quietly(remove: Callable[[], object]) -> None:
    """Call and ignore any error: the messages received matter more than the deletion."""
    with contextlib.suppress(Exception):
        remove()
