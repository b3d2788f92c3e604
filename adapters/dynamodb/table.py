"""Names and keys of the table, shared by the adapter and provisioning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

    Item: TypeAlias = dict[str, AttributeValueTypeDef]
    """An item, or its key, in DynamoDB JSON."""

PARTITION_KEY: Final = "pk"
SORT_KEY: Final = "sk"
TTL_ATTRIBUTE: Final = "expires_at"
"""Epoch seconds; outcomes, sessions and banned addresses have it."""
REFRESH_TOKEN_INDEX: Final = "RefreshTokenIndex"  # noqa: S105 - the name of an index
REFRESH_FAMILY_HASH: Final = "refresh_family_hash"

USER: Final = "USER"
USER_PREFIX: Final = "USER#"
SESSION_PREFIX: Final = "SESSION#"
TWO_FACTOR: Final = "TWO_FACTOR"
COMMAND_PREFIX: Final = "COMMAND#"
EMAIL: Final = "EMAIL"
EMAIL_PREFIX: Final = "EMAIL#"
BANNED: Final = "BANNED"
BANNED_PREFIX: Final = "BANNED#"
OUTBOX_PREFIX: Final = "OUTBOX#"
PARKED_PARTITION: Final = "OUTBOX#PARKED"


def key(partition: str, sort: str) -> Item:
    """Return the primary key of an item."""
    return {PARTITION_KEY: {"S": partition}, SORT_KEY: {"S": sort}}


def session_key(user_id: str, session_id: str) -> Item:
    """Return the key of a session item."""
    return key(USER_PREFIX + user_id, SESSION_PREFIX + session_id)


def two_factor_key(user_id: str) -> Item:
    """Return the key of a second factor's item."""
    return key(USER_PREFIX + user_id, TWO_FACTOR)


def address_key(address: str) -> Item:
    """Return the key of an address item, by `EmailAddress.key`."""
    return key(EMAIL_PREFIX + address, EMAIL)


def banned_key(address_hash: str) -> Item:
    """Return the key of a banned address, by the keyed hash of the address."""
    return key(BANNED_PREFIX + address_hash, BANNED)


def outcome_key(user_id: str | None, command_id: str) -> Item:
    """Return the key of an outcome: under its user, or under its command id alone."""
    sort = COMMAND_PREFIX + command_id
    return key(sort if user_id is None else USER_PREFIX + user_id, sort)


def outbox_partition(shard: int) -> str:
    """Return the partition key of an outbox shard."""
    return f"{OUTBOX_PREFIX}{shard}"
