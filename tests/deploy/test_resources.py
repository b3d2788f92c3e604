"""The template creates the same resources as `provision`; `test_stack` tests its deployment."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.dynamodb.provision import ATTRIBUTES, INDEX, KEYS, ON_DEMAND
from adapters.dynamodb.table import TTL_ATTRIBUTE
from adapters.provision import queue_attributes, queue_differences
from tests.deploy.stacks import settings_of
from tests.deploy.templates import evaluated
from worker.bootstrap import resources
from worker.settings import Settings

ONLY_IN_PRODUCTION = {
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "QueueName",
    "RedriveAllowPolicy",
}
HIGH_THROUGHPUT = {"DeduplicationScope", "FifoThroughputLimit"}
QUEUES = {
    "CommandQueue": "command_queue",
    "PriorityQueue": "priority_queue",
    "DeadLetterQueue": "dead_letter_queue",
}


def as_sqs_has_it(value: Any) -> str:
    """Return an attribute as text."""
    return value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize("fifo", [False, True], ids=["standard", "fifo"])
@pytest.mark.parametrize("resource", QUEUES)
def test_a_queue_is_as_in_development(resource: str, *, fifo: bool) -> None:
    """Name and attributes are equal; additional attributes are for production only."""
    settings = settings_of(fifo=fifo)
    made = evaluated("resources", resource, Fifo=json.dumps(fifo))
    assert made["QueueName"] == getattr(settings, QUEUES[resource])
    dead = None if resource == "DeadLetterQueue" else "DeadLetterQueue.Arn"
    wanted = queue_attributes(resources(settings), made["QueueName"], dead)
    assert queue_differences({k: as_sqs_has_it(v) for k, v in made.items()}, wanted) == []
    more = ONLY_IN_PRODUCTION | (HIGH_THROUGHPUT if fifo else set())
    assert made.keys() - wanted.keys() <= more
    assert made["KmsMasterKeyId"] == "Key.Arn"


@pytest.mark.parametrize("fifo", [False, True], ids=["standard", "fifo"])
def test_the_dead_letter_queue_takes_those_of_the_command_queues(*, fifo: bool) -> None:
    """It accepts those of both queues, and of no other."""
    settings = settings_of(fifo=fifo)
    allowed = evaluated("resources", "DeadLetterQueue", Fifo=json.dumps(fifo))["RedriveAllowPolicy"]
    assert allowed["redrivePermission"] == "byQueue"
    named = {arn.rpartition(":")[2] for arn in allowed["sourceQueueArns"]}
    assert named == set(settings.queues)


@pytest.mark.parametrize("fifo", [False, True], ids=["standard", "fifo"])
def test_the_topic_is_as_in_development(*, fifo: bool) -> None:
    """Its type and name are equal, and those of the queue for undelivered events fit."""
    made = evaluated("resources", "Topic", Fifo=json.dumps(fifo))
    name = settings_of(fifo=fifo).events_topic
    high = {"FifoTopic": True, "FifoThroughputScope": "MessageGroup"} if fifo else {}
    assert made == {"TopicName": name, "KmsMasterKeyId": "Key.Arn", **high}
    undelivered = evaluated("resources", "UndeliveredQueue", Fifo=json.dumps(fifo))
    assert undelivered["QueueName"] == name.replace("events", "events-undelivered")
    assert undelivered.get("FifoQueue", False) is fifo


def test_the_table_is_as_in_development() -> None:
    """Keys, index, billing and expiry are equal."""
    made = evaluated("resources", "Table")
    assert made["TableName"] == Settings(env="test").table
    assert made["KeySchema"] == KEYS
    assert made["AttributeDefinitions"] == ATTRIBUTES
    assert made["GlobalSecondaryIndexes"] == [INDEX]
    assert made["BillingMode"] == ON_DEMAND
    assert made["TimeToLiveSpecification"] == {"AttributeName": TTL_ATTRIBUTE, "Enabled": True}
