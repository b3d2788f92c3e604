"""Listening for the answers to commands, on a topic as AWS has it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from threading import Thread
from typing import TYPE_CHECKING
from uuid import uuid4

import boto3
import pytest

from operations.outcomes import listener
from tests.conftest import ResourceNames
from tests.unit.operations.recorded_progress import RecordedProgress
from worker.connections import Aws
from worker.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

LONG = 45
"""A timeout in seconds that no test reaches."""


@pytest.fixture
def aws(aws_endpoint: str, resource_names: ResourceNames) -> Aws:
    """The AWS of the command line."""
    return Aws(Settings(events_topic=resource_names.events_topic))


@pytest.fixture
def topic(aws: Aws) -> Iterator[str]:
    """The topic's ARN."""
    arn = aws.sns.create_topic(Name=aws.settings.events_topic)["TopicArn"]
    yield arn
    aws.sns.delete_topic(TopicArn=arn)


def publish(sns: SNSClient, topic: str, *command_ids: str) -> None:
    """Publish an event for each command, as the worker does."""
    for command_id in command_ids:
        event = {"type": "biome.user.UserBanned.v1", "causationid": command_id}
        sns.publish(TopicArn=topic, Message=json.dumps(event))


def test_an_answer_on_the_topic_ends_the_waiting(aws: Aws, topic: str) -> None:
    """Long before its time; another command's does not, and nothing is left behind."""
    mine, other = str(uuid4()), str(uuid4())
    listen = listener(aws, [mine])
    assert listen is not None
    with listen() as heard:
        assert heard is not None
        (subscription,) = aws.sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
        publish(aws.sns, topic, other)
        before = time.monotonic()
        heard(1)
        assert time.monotonic() - before > 0.4
        speaking = Thread(target=publish, args=(boto3.client("sns"), topic, other, mine))
        speaking.start()
        before = time.monotonic()
        heard(LONG)
        assert time.monotonic() - before < LONG / 2
        speaking.join()
    assert aws.sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []
    with pytest.raises(aws.sqs.exceptions.QueueDoesNotExist):
        aws.sqs.get_queue_url(QueueName=subscription["Endpoint"].rpartition(":")[2])


def test_without_a_topic_the_listener_does_not_start(aws: Aws) -> None:
    """It reports this, and continues by reading."""
    progress = RecordedProgress()
    listen = listener(aws, [str(uuid4())], progress)
    assert listen is not None
    with listen() as heard:
        assert heard is None
    [note] = progress.notes
    assert "cannot subscribe to the topic (NotFound" in note
