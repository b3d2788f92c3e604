"""Provisioning for development: the resources afterwards, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from adapters.aws import client as aws
from adapters.errors import ProvisioningRefusedError, ResourceMismatchError
from adapters.provision import Provisioned, Resources, provision
from tests.conftest import ResourceNames

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient


@dataclass(frozen=True, slots=True)
class Aws:
    """The three clients."""

    dynamodb: DynamoDBClient
    sqs: SQSClient
    sns: SNSClient

    def provision(self, resources: Resources) -> Provisioned:
        """Provision with these clients."""
        return provision(resources, self.dynamodb, self.sqs, self.sns)


@pytest.fixture
def here(aws_endpoint: str) -> Iterator[Aws]:
    """Clients of the endpoint; resources of a test are deleted afterwards."""
    made = Aws(aws.client("dynamodb"), aws.client("sqs"), aws.client("sns"))
    yield made
    for client in (made.dynamodb, made.sqs, made.sns):
        client.close()


def resources(names: ResourceNames) -> Resources:
    """Return the resources with these names."""
    return Resources(
        env="test",
        table=names.table,
        command_queues=(names.command_queue,),
        dead_letter_queue=names.dead_letter_queue,
        quarantine_queue=names.quarantine_queue,
        topics=(names.events_topic, names.personal_topic),
        visibility_timeout=45,
        max_receives=12,
    )


def attributes(here: Aws, url: str) -> dict[str, Any]:
    """Return a queue's attributes."""
    answer = here.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    return dict(answer["Attributes"].items())


def test_the_table_has_keys_index_ttl_and_is_on_demand(
    here: Aws, resource_names: ResourceNames
) -> None:
    """It is what the worker needs, and usable at once."""
    here.provision(resources(resource_names))
    table = here.dynamodb.describe_table(TableName=resource_names.table)["Table"]
    assert table.get("TableStatus") == "ACTIVE"
    assert [key["AttributeName"] for key in table.get("KeySchema", [])] == ["pk", "sk"]
    assert table.get("BillingModeSummary", {}).get("BillingMode") == "PAY_PER_REQUEST"
    (index,) = table.get("GlobalSecondaryIndexes", [])
    assert index.get("IndexName") == "RefreshTokenIndex"
    assert index.get("Projection", {}).get("ProjectionType") == "KEYS_ONLY"
    answer = here.dynamodb.describe_time_to_live(TableName=resource_names.table)
    ttl = answer["TimeToLiveDescription"]
    assert ttl.get("AttributeName") == "expires_at"
    assert ttl.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}
    here.dynamodb.delete_table(TableName=resource_names.table)


def test_the_queue_has_redrive_visibility_and_the_longest_retention(
    here: Aws, resource_names: ResourceNames
) -> None:
    """The dead-letter queue has the same retention, and is the target."""
    made = here.provision(resources(resource_names))
    queue = attributes(here, made.queue_urls[resource_names.command_queue])
    dead = attributes(here, made.queue_urls[resource_names.dead_letter_queue])
    assert queue["VisibilityTimeout"] == "45"
    assert queue["MessageRetentionPeriod"] == dead["MessageRetentionPeriod"] == "1209600"
    redrive = json.loads(queue["RedrivePolicy"])
    assert redrive["deadLetterTargetArn"] == dead["QueueArn"]
    assert int(redrive["maxReceiveCount"]) == 12
    assert "FifoQueue" not in queue


def test_names_that_end_in_fifo_make_fifo_queues_and_topic(
    here: Aws, fifo_resource_names: ResourceNames
) -> None:
    """This holds for all queues and both topics."""
    made = here.provision(resources(fifo_resource_names))
    for url in made.queue_urls.values():
        assert attributes(here, url)["FifoQueue"] == "true"
    assert len(made.topic_arns) == 2
    for arn in made.topic_arns:
        topic = here.sns.get_topic_attributes(TopicArn=arn)["Attributes"]
        assert topic["FifoTopic"] == "true"


@pytest.mark.parametrize("fifo", [False, True])
def test_provisioning_again_changes_nothing(here: Aws, *, fifo: bool) -> None:
    """It runs at every start, also after an interruption."""
    wanted = resources(ResourceNames.unique(fifo=fifo))
    left: Any = {"MessageRetentionPeriod": "1209600"} | ({"FifoQueue": "true"} if fifo else {})
    here.sqs.create_queue(QueueName=wanted.dead_letter_queue, Attributes=left)
    first = here.provision(wanted)
    assert here.provision(wanted) == first
    assert first.queue_urls.keys() == {
        wanted.dead_letter_queue,
        wanted.quarantine_queue,
        *wanted.command_queues,
    }


def test_several_queues_share_the_dead_letter_queue(
    here: Aws, resource_names: ResourceNames
) -> None:
    """An urgent queue beside the usual one."""
    urgent = f"{resource_names.command_queue}-urgent"
    wanted = replace(
        resources(resource_names), command_queues=(urgent, resource_names.command_queue)
    )
    made = here.provision(wanted)
    targets = {
        json.loads(attributes(here, made.queue_urls[name])["RedrivePolicy"])["deadLetterTargetArn"]
        for name in wanted.command_queues
    }
    assert len(targets) == 1


@pytest.mark.parametrize(
    ("change", "attribute"),
    [({"visibility_timeout": 44}, "VisibilityTimeout"), ({"max_receives": 5}, "RedrivePolicy")],
)
def test_a_queue_with_other_attributes_is_an_error_and_stays_as_it_is(
    here: Aws, resource_names: ResourceNames, change: dict[str, Any], attribute: str
) -> None:
    """The message names queue and attribute."""
    wanted = resources(resource_names)
    made = here.provision(wanted)
    with pytest.raises(ResourceMismatchError, match=attribute) as caught:
        here.provision(replace(wanted, **change))
    assert resource_names.command_queue in str(caught.value)
    stored = attributes(here, made.queue_urls[resource_names.command_queue])
    assert stored["VisibilityTimeout"] == "45"


def plain_table(here: Aws, name: str, **changes: Any) -> None:
    """Create a table with a small difference."""
    definition: dict[str, Any] = {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
        "AttributeDefinitions": [
            {"AttributeName": each, "AttributeType": "S"}
            for each in ("pk", "sk", "refresh_family_hash")
        ],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": "RefreshTokenIndex",
                "KeySchema": [{"AttributeName": "refresh_family_hash", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
        **changes,
    }
    here.dynamodb.create_table(**{key: value for key, value in definition.items() if value})


ONE_KEY = {
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
    "GlobalSecondaryIndexes": None,
}
NO_INDEX = {
    "GlobalSecondaryIndexes": None,
    "AttributeDefinitions": [
        {"AttributeName": each, "AttributeType": "S"} for each in ("pk", "sk")
    ],
}
NUMBERS = {
    "GlobalSecondaryIndexes": None,
    "AttributeDefinitions": [
        {"AttributeName": each, "AttributeType": "N"} for each in ("pk", "sk")
    ],
}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [(ONE_KEY, "primary key"), (NUMBERS, "type of a key"), (NO_INDEX, "RefreshTokenIndex|type")],
)
def test_a_table_with_other_keys_is_an_error(
    here: Aws, resource_names: ResourceNames, changes: dict[str, Any], problem: str
) -> None:
    """The worker would fail at its first command."""
    plain_table(here, resource_names.table, **changes)
    with pytest.raises(ResourceMismatchError, match=problem) as caught:
        here.provision(resources(resource_names))
    assert resource_names.table in str(caught.value)
    here.dynamodb.delete_table(TableName=resource_names.table)


def test_a_table_that_expires_by_another_attribute_is_an_error(
    here: Aws, resource_names: ResourceNames
) -> None:
    """It would keep outcomes forever, or delete other items."""
    plain_table(here, resource_names.table)
    here.dynamodb.update_time_to_live(
        TableName=resource_names.table,
        TimeToLiveSpecification={"Enabled": True, "AttributeName": "other"},
    )
    with pytest.raises(ResourceMismatchError, match="time to live"):
        here.provision(resources(resource_names))
    here.dynamodb.delete_table(TableName=resource_names.table)


def test_production_is_refused_before_any_call(resource_names: ResourceNames) -> None:
    """In production a template creates resources, with permissions that the worker lacks."""
    nobody: Any = None
    with pytest.raises(ProvisioningRefusedError, match="production"):
        provision(replace(resources(resource_names), env="prod"), nobody, nobody, nobody)
