"""The tables that contestants write to, and what their writes are billed."""

from __future__ import annotations

from typing import Any

import boto3

from adapters.dynamodb.capacity import item_size, write_units
from benchmarks.endpoints import Endpoints
from benchmarks.workload import REGISTER, Workload

REGION = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_REGION": "us-east-1"}


def direct_client(endpoints: Endpoints) -> Any:
    """Give a client of DynamoDB that goes past the gateway, for what is not measured."""
    return boto3.client(
        "dynamodb",
        endpoint_url=endpoints.direct_url,
        region_name=REGION["AWS_REGION"],
        aws_access_key_id="benchmark",
        aws_secret_access_key="benchmark",  # noqa: S106 - DynamoDB Local takes any
    )


def make_naive_table(client: Any, name: str) -> None:
    """Make the table of a naive design: users by id, and an index by e-mail address."""
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
    """Give the write units a command of a put in the table and the same in its index."""
    units = 0
    for command in workload.commands:
        if command.repeated:
            continue  # finds its own address taken
        fields = command.data if command.type == REGISTER else {"password_hash": "-" * 400}
        size = item_size({name: {"S": value} for name, value in fields.items()}) + 150
        units += 2 * write_units(size)
    return units / len(workload.commands)
