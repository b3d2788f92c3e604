"""A temporary queue that is subscribed to a topic.

https://docs.aws.amazon.com/sns/latest/dg/subscribe-sqs-queue-to-sns-topic.html. The queue is
created with its access policy, because a policy that is set later takes up to 60 s to take effect,
and SNS does not retry a message that a queue refuses.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from botocore.exceptions import ClientError

from biome_users._aws import FIFO, MAX_BATCH, error_code
from biome_users.errors import NotSubscribedError

RETENTION: Final = 3_600
"""Seconds; after a crash of this program, unread messages are not kept for days."""
LONGEST_POLL: Final = 20
USABLE_AFTER: Final = 1.0
"""Seconds after CreateQueue until the queue is usable, by AWS's documentation of CreateQueue."""
NEW_QUEUE_READS: Final = 30
"""Reads of a new queue's attributes, `USABLE_AFTER` seconds apart, before an error."""
QUEUE_PREFIX: Final = "user-outcomes"
"""Prefix of the queues' names; the worker's command `doctor` uses it, too."""
MISSING: Final = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})
_OTHER_ATTRIBUTES: Final = frozenset({"InvalidParameter", "InvalidParameterException"})
"""Subscribe's codes for a subscription that exists with other attributes, such as its filter."""


class QueueReader:
    """Read one queue, deleting what it reads."""

    def __init__(self, sqs: Any, queue_url: str) -> None:
        """Read the queue at this URL; the client's timeout must be longer than the longest poll."""
        self._sqs = sqs
        self._url = queue_url

    def poll(self) -> list[str]:
        """Wait up to 20 s for messages, delete them, and return their bodies.

        A message may come again, for example if it could not be deleted.

        Raises:
            Exception: anything that the SDK raises.
        """
        answer = self._sqs.receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=MAX_BATCH, WaitTimeSeconds=LONGEST_POLL
        )
        messages = answer.get("Messages") or []
        if messages:
            entries = [
                {"Id": str(index), "ReceiptHandle": message.get("ReceiptHandle", "")}
                for index, message in enumerate(messages)
            ]
            with contextlib.suppress(Exception):  # the messages matter more than their deletion
                self._sqs.delete_message_batch(QueueUrl=self._url, Entries=entries)
        return [message.get("Body", "") for message in messages]


class TopicSubscription:
    """A temporary queue, subscribed to a topic, that can be renewed if it is lost.

    Not thread-safe, except for `close`.
    """

    def __init__(
        self,
        sqs: Any,
        sns: Any,
        topic: str,
        *,
        wanted: Mapping[str, object],
        sleep: Callable[[float], object],
    ) -> None:
        """Set what to subscribe to; makes no call yet.

        Args:
            sqs: the client for queues.
            sns: the client for topics.
            topic: its ARN, or its name in the account and region of the client for queues.
            wanted: a filter policy of message attributes.
            sleep: waits until a new queue is usable.
        """
        self._sqs = sqs
        self._sns = sns
        self._topic = topic
        self._attributes = {
            "RawMessageDelivery": "true",
            "FilterPolicy": json.dumps(wanted),
            "FilterPolicyScope": "MessageAttributes",
        }
        self._sleep = sleep
        self._queue_url = self._queue_arn = self._topic_arn = self._subscription = ""
        self._policy: object = None
        """The access policy as SQS returned it when the queue was new."""

    def open(self) -> QueueReader:
        """Create the queue and subscribe it; on any failure, delete what was created.

        Raises:
            NotSubscribedError: the policy or the subscription is not active.
            Exception: anything that the SDK raises.
        """
        try:
            self._topic_arn = self._find_topic()
            self._queue_url = self._create_queue(json.dumps(_policy(self._topic_arn)))
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
            Exception: anything that the SDK raises. The next call tries again.
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
            with contextlib.suppress(Exception):
                self._sns.unsubscribe(SubscriptionArn=subscription)
        if url:
            with contextlib.suppress(Exception):
                self._sqs.delete_queue(QueueUrl=url)

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
        attributes = {"MessageRetentionPeriod": str(RETENTION)}
        suffix = ""
        if self._topic.endswith(FIFO):
            attributes["FifoQueue"], suffix = "true", FIFO
        if policy is not None:
            attributes["Policy"] = policy
        name = f"{QUEUE_PREFIX}-{uuid.uuid4().hex[:12]}{suffix}"
        url: str = self._sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url

    def _read_new_queue(self, *, with_policy: bool = False) -> tuple[str, object]:
        """Return ARN and policy; retries, because a new queue may not be found yet."""
        for attempt in range(NEW_QUEUE_READS):
            if attempt:
                self._sleep(USABLE_AFTER)
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
        answer = self._sqs.get_queue_attributes(
            QueueUrl=self._queue_url, AttributeNames=["QueueArn", "Policy"]
        )
        policy = answer["Attributes"].get("Policy")
        return answer["Attributes"]["QueueArn"], json.loads(policy) if policy else None

    def _subscribe(self) -> str:
        """Return the ARN of the subscription, creating it if it does not exist."""
        subscription: str = self._sns.subscribe(
            TopicArn=self._topic_arn,
            Protocol="sqs",
            Endpoint=self._queue_arn,
            Attributes=self._attributes,
        )["SubscriptionArn"]
        if not subscription.startswith("arn:"):  # "pending confirmation"
            raise NotSubscribedError("SNS requires confirmation of the subscription")
        return subscription


def _policy(topic_arn: str) -> dict[str, object]:
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
