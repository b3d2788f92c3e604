from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from adapters.sns.publisher import SnsPublisher, topic_arn
from application.messages import render_events
from application.repository import Outcome, Status
from domain.events import EmailVerified, RecordedEvent, UserRegistered
from tests.conftest import ResourceNames

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

USER_ID = "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77"
DEADLINE = 20.0  # seconds


@dataclass
class Topic:
    """A topic with a queue subscribed to it."""

    arn: str
    sns: SNSClient
    sqs: SQSClient
    queue_url: str

    def subscribe(self, name: str, filter_policy: dict[str, Any] | None = None) -> None:
        """Subscribe a new queue with raw delivery; `received` then reads from it."""
        fifo = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
        self.queue_url = self.sqs.create_queue(QueueName=name, Attributes=fifo)["QueueUrl"]  # type: ignore[arg-type]
        answer = self.sqs.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=["QueueArn"])
        attributes = {"RawMessageDelivery": "true"}
        if filter_policy is not None:
            attributes["FilterPolicy"] = json.dumps(filter_policy)
        self.sns.subscribe(
            TopicArn=self.arn,
            Protocol="sqs",
            Endpoint=answer["Attributes"]["QueueArn"],
            Attributes=attributes,
        )

    def received(self, count: int) -> list[dict[str, Any]]:
        """Receive and delete that many messages."""
        messages: list[dict[str, Any]] = []
        deadline = time.monotonic() + DEADLINE
        while len(messages) < count and time.monotonic() < deadline:
            answer = self.sqs.receive_message(
                QueueUrl=self.queue_url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=1,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
            )
            for message in map(dict[str, Any], answer.get("Messages", ())):
                messages.append(message)
                self.sqs.delete_message(
                    QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"]
                )
        return messages


def _topic(names: ResourceNames, **attributes: str) -> Iterator[Topic]:
    session = boto3.Session()
    sns = session.client("sns")
    sqs = session.client("sqs")
    arn = sns.create_topic(Name=names.events_topic, Attributes=attributes)["TopicArn"]
    topic = Topic(arn, sns, sqs, "")
    topic.subscribe(names.command_queue)
    yield topic
    sqs.delete_queue(QueueUrl=topic.queue_url)
    sns.delete_topic(TopicArn=arn)
    sns.close()
    sqs.close()


@pytest.fixture
def topic(aws_endpoint: str, resource_names: ResourceNames) -> Iterator[Topic]:
    """A standard topic."""
    yield from _topic(resource_names)


@pytest.fixture
def fifo_topic(aws_endpoint: str, fifo_resource_names: ResourceNames) -> Iterator[Topic]:
    """A FIFO topic."""
    yield from _topic(fifo_resource_names, FifoTopic="true")


def outcome(count: int, *, source: str = "/signup", email: str = "Adé@example.com") -> Outcome:
    """Return an outcome with so many events."""
    first = RecordedEvent.of(UserRegistered(email), 1)
    rest = [RecordedEvent.of(EmailVerified(), number) for number in range(2, count + 1)]
    now = datetime(2026, 11, 22, 10, tzinfo=UTC)
    return Outcome(
        command_id="0190b6d2-7d8a-7c1e-9a53-0a1f5d0c9b11",
        command_type="biome.user.RegisterUser.v1",
        user_id=USER_ID,
        by_email=False,
        fingerprint="f",
        status=Status.ACCEPTED,
        code=None,
        events=(first, *rest),
        version=count,
        recorded_at=now,
        expires_at=now,
        source=source,
    )


def test_events_reach_a_subscriber_as_they_were_rendered(topic: Topic) -> None:
    """Twelve events, two calls, every body complete, with attributes for filters."""
    messages = render_events(outcome(12))

    assert SnsPublisher(topic.sns, topic.arn).publish(messages) == {}

    received = topic.received(12)
    assert sorted(message["Body"] for message in received) == sorted(m.body for m in messages)
    registered = next(m for m in received if "UserRegistered" in m["Body"])
    values = {name: a["StringValue"] for name, a in registered["MessageAttributes"].items()}
    assert values == {
        "type": "biome.user.UserRegistered.v1",
        "category": "registration",
        "command_source": "/signup",
    }


@pytest.mark.parametrize(
    "policy",
    [
        {"category": ["registration"]},
        {"type": [{"prefix": "biome.user.UserRegistered."}]},
        {"command_source": ["/signup"], "category": [{"anything-but": ["email"]}]},
    ],
    ids=["category", "type", "source"],
)
def test_a_subscriber_gets_what_its_filter_lets_through(
    topic: Topic, resource_names: ResourceNames, policy: dict[str, Any]
) -> None:
    """By category, by type and by the command's source."""
    topic.sqs.delete_queue(QueueUrl=topic.queue_url)
    topic.subscribe(resource_names.dead_letter_queue, policy)
    publisher = SnsPublisher(topic.sns, topic.arn)

    assert publisher.publish(render_events(outcome(3))) == {}

    received = topic.received(1)
    assert [json.loads(m["Body"])["type"] for m in received] == ["biome.user.UserRegistered.v1"]
    rest = topic.sqs.receive_message(QueueUrl=topic.queue_url, WaitTimeSeconds=1)
    assert "Messages" not in rest


def test_a_hostile_address_reaches_the_subscriber_too(topic: Topic) -> None:
    """Characters that XML does not allow, and those with a meaning in XML."""
    email = "a\ufffe\u2028&<😀>@example.com"

    (message,) = render_events(outcome(1, email=email))
    assert message.complete_body is not None
    complete = replace(message, body=message.complete_body)
    failures = SnsPublisher(topic.sns, topic.arn).publish([complete])

    assert failures == {}
    (received,) = topic.received(1)
    assert json.loads(received["Body"])["data"]["email"] == email


def test_an_event_without_a_source_to_name_is_published(topic: Topic) -> None:
    """SNS would refuse an empty attribute, and the whole batch."""
    assert SnsPublisher(topic.sns, topic.arn).publish(render_events(outcome(2, source=""))) == {}

    assert len(topic.received(2)) == 2


def test_a_fifo_topic_keeps_order_and_swallows_what_is_published_twice(fifo_topic: Topic) -> None:
    """The group is the user id, and the deduplication id is the event id."""
    messages = render_events(outcome(5))
    publisher = SnsPublisher(fifo_topic.sns, fifo_topic.arn)

    assert publisher.publish(messages) == {}
    assert publisher.publish(messages) == {}

    received = fifo_topic.received(5)
    assert [message["Body"] for message in received] == [m.body for m in messages]
    assert {message["Attributes"]["MessageGroupId"] for message in received} == {USER_ID}
    again = fifo_topic.sqs.receive_message(QueueUrl=fifo_topic.queue_url, WaitTimeSeconds=1)
    assert "Messages" not in again


def test_a_missing_topic_is_not_the_events_fault(topic: Topic) -> None:
    """The events wait in the outbox until the topic exists."""
    publisher = SnsPublisher(topic.sns, topic.arn + "-of-nobody")

    failures = publisher.publish(render_events(outcome(2)))

    assert len(failures) == 2
    assert not any(failure.permanent for failure in failures.values())


def test_a_topic_is_found_by_name(topic: Topic) -> None:
    """The permission to create one is not needed."""
    assert topic_arn(topic.sns, topic.arn.rpartition(":")[2]) == topic.arn
    with pytest.raises(LookupError):
        topic_arn(topic.sns, "of-nobody")
