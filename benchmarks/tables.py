"""The resources that contestants use, and the write units that their writes are billed."""

from __future__ import annotations

from functools import cache
from typing import Any

import boto3

from adapters.dynamodb.capacity import item_size, write_units
from adapters.provision import provision
from benchmarks.endpoints import Endpoints
from benchmarks.workload import REGISTER, Workload
from worker import bootstrap
from worker.settings import Settings

REGION = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_REGION": "us-east-1"}


def direct_client(endpoints: Endpoints) -> Any:
    """Return a client of DynamoDB that bypasses the gateway, for what is not measured."""
    return _client("dynamodb", endpoints.direct_url)


def provision_resources(
    url: str, dynamodb_url: str, *, table: str, queue: str, dead_letters: str, quarantine: str
) -> None:
    """Create missing resources of this worker (table, queues, topics), as the product does.

    Args:
        url: Of SQS and SNS.
        dynamodb_url: Of DynamoDB.
        table: Name of the table.
        queue: Name of the command queue.
        dead_letters: Name of the dead-letter queue.
        quarantine: Name of the quarantine queue.
    """
    settings = Settings(
        env="test",
        table=table,
        command_queue=queue,
        dead_letter_queue=dead_letters,
        quarantine_queue=quarantine,
    )
    clients = (_client("dynamodb", dynamodb_url), _client("sqs", url), _client("sns", url))
    provision(bootstrap.resources(settings), *clients)


@cache
def _client(service: str, url: str) -> Any:
    return boto3.client(  # type: ignore[call-overload]  # by name
        service,
        endpoint_url=url,
        region_name=REGION["AWS_REGION"],
        aws_access_key_id="benchmark",
        aws_secret_access_key="benchmark",  # noqa: S106 - the emulators accept any
    )


def make_naive_table(client: Any, name: str) -> None:
    """Create the table of a naive design: users by id, and an index by e-mail address."""
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "user_id", "KeyType": "HASH"}],
        AttributeDefinitions=[
            {"AttributeName": attribute, "AttributeType": "S"} for attribute in ("user_id", "email")
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "email-index",
                "KeySchema": [{"AttributeName": "email", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )


def naive_units(workload: Workload) -> float:
    """Return the write units per command of a put in the table and its index."""
    units = 0
    for command in workload.commands:
        if command.repeated:
            continue  # its own address is taken
        fields = command.data if command.type == REGISTER else {"password_hash": "-" * 400}
        size = item_size({name: {"S": value} for name, value in fields.items()}) + 150
        units += 2 * write_units(size)
    return units / len(workload.commands)
