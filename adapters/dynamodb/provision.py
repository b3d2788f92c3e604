"""Create the table for development, like the production template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from adapters.aws.client import error_code
from adapters.dynamodb import table
from adapters.errors import ResourceMismatchError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import (
        TableDescriptionTypeDef,
        TimeToLiveDescriptionTypeDef,
    )

WAIT_SECONDS: Final = 60
POLL_SECONDS: Final = 1
KEYS: Final = [
    {"AttributeName": table.PARTITION_KEY, "KeyType": "HASH"},
    {"AttributeName": table.SORT_KEY, "KeyType": "RANGE"},
]
INDEX: Final = {
    "IndexName": table.REFRESH_TOKEN_INDEX,
    "KeySchema": [{"AttributeName": table.REFRESH_FAMILY_HASH, "KeyType": "HASH"}],
    "Projection": {"ProjectionType": "KEYS_ONLY"},
}
ATTRIBUTES: Final = [
    {"AttributeName": name, "AttributeType": "S"}
    for name in (table.PARTITION_KEY, table.SORT_KEY, table.REFRESH_FAMILY_HASH)
]
ON_DEMAND: Final = "PAY_PER_REQUEST"


def provision_table(client: DynamoDBClient, name: str) -> None:
    """Create the table if it is missing, and wait until it is usable.

    Raises:
        ResourceMismatchError: it exists with another key, index, billing mode or TTL.
    """
    definition: Any = {
        "TableName": name,
        "BillingMode": ON_DEMAND,
        "KeySchema": KEYS,
        "AttributeDefinitions": ATTRIBUTES,
        "GlobalSecondaryIndexes": [INDEX],
    }
    try:
        client.create_table(**definition)
    except ClientError as error:
        if error_code(error) != "ResourceInUseException":
            raise
    client.get_waiter("table_exists").wait(
        TableName=name,
        WaiterConfig={"Delay": POLL_SECONDS, "MaxAttempts": WAIT_SECONDS // POLL_SECONDS},
    )
    description = client.describe_table(TableName=name)["Table"]
    for difference in table_differences(description):
        raise ResourceMismatchError("table", name, difference)
    _provision_ttl(client, name)


def table_differences(description: TableDescriptionTypeDef) -> list[str]:
    """Return the parts of a table's description that differ from what this worker needs."""
    types = {
        a["AttributeName"]: a["AttributeType"] for a in description.get("AttributeDefinitions", [])
    }
    indexes = {
        index.get("IndexName"): (
            _sorted_keys(index.get("KeySchema")),
            index.get("Projection", {}).get("ProjectionType"),
        )
        for index in description.get("GlobalSecondaryIndexes", [])
    }
    as_needed = {
        "primary key": _sorted_keys(description.get("KeySchema")) == _sorted_keys(KEYS),
        "type of a key": all(
            types.get(a["AttributeName"]) == a["AttributeType"] for a in ATTRIBUTES
        ),
        "billing mode": description.get("BillingModeSummary", {}).get("BillingMode") == ON_DEMAND,
        f"index {table.REFRESH_TOKEN_INDEX}": indexes.get(table.REFRESH_TOKEN_INDEX)
        == (_sorted_keys(INDEX["KeySchema"]), "KEYS_ONLY"),
    }
    return [name for name, fits in as_needed.items() if not fits]


def expires_by(description: TimeToLiveDescriptionTypeDef) -> str | None:
    """Return the attribute by which a table's items expire; `None` if they do not expire."""
    if description.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}:
        return description.get("AttributeName")
    return None


def _sorted_keys(schema: Any) -> list[tuple[str, str]]:
    return sorted((key["AttributeName"], key["KeyType"]) for key in schema or ())


def _provision_ttl(client: DynamoDBClient, name: str) -> None:
    answer = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    attribute = expires_by(answer)
    if attribute is not None:
        if attribute != table.TTL_ATTRIBUTE:
            raise ResourceMismatchError("table", name, "time to live")
        return
    client.update_time_to_live(
        TableName=name,
        TimeToLiveSpecification={"Enabled": True, "AttributeName": table.TTL_ATTRIBUTE},
    )
