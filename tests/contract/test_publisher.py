"""Contract of the event publisher: in memory, in process, in moto and at the endpoint."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from moto import mock_aws

from adapters.aws import client as aws
from adapters.memory import MemoryEventPublisher
from adapters.sns.publisher import SnsPublisher
from application.ports import EventMessage, EventPublisher
from tests.builders import uid
from tests.conftest import ResourceNames
from tests.reliability.in_process_sns import InProcessSns

SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Topic:
    """A publisher and its subscriber's messages; `received` waits for the given number."""

    publisher: EventPublisher
    received: Callable[[int], Sequence[dict[str, Any]]]


def event(name: str, /, **data: Any) -> EventMessage:
    """Create an event named after its user."""
    event_id, kind = uid(f"event {name}"), "biome.user.EmailVerified.v1"
    text = json.dumps({"id": event_id, "type": kind, "data": data}, ensure_ascii=False)
    return EventMessage(event_id, uid(name), text, kind, "email", "/test")


@pytest.fixture
def memory() -> Topic:
    """A topic in memory."""
    publisher = MemoryEventPublisher()
    return Topic(publisher, lambda _: [json.loads(each.body) for each in publisher.published])


@pytest.fixture
def in_process() -> Topic:
    """The topic of the crash tests."""
    sns: Any = InProcessSns()
    arn = "arn:aws:sns:us-east-1:123456789012:user-events"
    return Topic(SnsPublisher(sns, arn), lambda _: sns.published)


def _topic(names: ResourceNames) -> Iterator[Topic]:
    clients: Any = boto3.Session()
    sns, sqs = clients.client("sns"), clients.client("sqs")
    arn = sns.create_topic(Name=names.events_topic)["TopicArn"]
    url = sqs.create_queue(QueueName=names.command_queue)["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    raw = {"RawMessageDelivery": "true"}
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue["QueueArn"], Attributes=raw)
    publishing: Any = aws.client("sns")

    def received(count: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        deadline = time.monotonic() + SECONDS
        while len(rows) < count and time.monotonic() < deadline:
            answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            rows += [json.loads(row["Body"]) for row in answer.get("Messages", ())]
        return rows

    yield Topic(SnsPublisher(publishing, arn), received)
    sqs.delete_queue(QueueUrl=url)
    sns.delete_topic(TopicArn=arn)
    for client in (sns, sqs, publishing):
        client.close()


@pytest.fixture
def moto(resource_names: ResourceNames) -> Iterator[Topic]:
    """A topic and a subscribed queue in moto, in this process."""
    with mock_aws():
        yield from _topic(resource_names)


@pytest.fixture
def on_aws(
    resource_names: ResourceNames, aws_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Topic]:
    """A topic and a subscribed queue at the endpoint."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws_endpoint)
    yield from _topic(resource_names)


@pytest.fixture(
    params=["memory", "in_process", "moto", pytest.param("on_aws", marks=pytest.mark.aws)]
)
def topic(request: pytest.FixtureRequest) -> Topic:
    """Each topic in turn."""
    found: Topic = request.getfixturevalue(request.param)
    return found


def test_a_published_event_arrives_as_it_was_rendered(topic: Topic) -> None:
    """More events than one call carries, with characters of every width."""
    events = [event(f"user {n}", name="Zoë 例 \U0001f43e", number=n) for n in range(12)]
    assert topic.publisher.publish(events) == {}
    by_id = {row["id"]: row for row in topic.received(12)}
    assert by_id == {each.event_id: json.loads(each.body) for each in events}


def test_nothing_to_publish_fails_nothing(topic: Topic) -> None:
    """A batch of duplicates has no events."""
    assert topic.publisher.publish([]) == {}


def test_publishing_again_is_harmless(topic: Topic) -> None:
    """The relay may publish again: a subscriber gets the same ids, once or twice."""
    events = [event("ada"), event("grace")]
    for _ in range(2):
        assert topic.publisher.publish(events) == {}
    counted = Counter(row["id"] for row in topic.received(4))
    assert counted.keys() == {each.event_id for each in events}
