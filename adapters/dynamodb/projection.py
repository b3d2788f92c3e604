"""The attributes that a reader without credentials requests, and those that it must not.

The policies of such readers allow exactly these attributes (`dynamodb:Attributes`): IAM compares
the names in the request, so each read has to name them in a ProjectionExpression.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from adapters.dynamodb import table
from adapters.dynamodb.formats import SCHEMA

if TYPE_CHECKING:
    from adapters.dynamodb.table import Item

CREDENTIALS: Final = frozenset(
    {
        "password_hash",
        "email_verification",
        "email_change",
        "password_reset",
        table.REFRESH_FAMILY_HASH,
        "refresh_token_hashes",
        "replaced_token_hash",
        "refresh_token_hash",
        "used_token_hashes",
        "secret_ciphertext",
        "recovery_code_hashes",
    }
)
"""Attributes with hashes of passwords, tokens and recovery codes, or with ciphertexts. The last of
the sessions are those of format 1."""

_OF_ITEMS: Final = (table.PARTITION_KEY, table.SORT_KEY, SCHEMA, "user_id", "version")
_OF_USERS: Final = (
    "created_at",
    "updated_at",
    "first_name",
    "last_name",
    "email",
    "email_verified",
    "password_hash_legacy",
    "credential_version",
    "roles",
    "locale",
    "time_zone",
    "terms",
    "failed_logins",
    "last_failure_at",
    "lock_count",
    "locked_until",
    "last_totp_step",
    "two_factor_enabled",
    "two_factor_unverified",
    "ban",
    "deactivated",
    "deactivation_reason",
    "erased",
    "live_sessions",
)
_OF_SESSIONS: Final = (
    "session_id",
    table.TTL_ATTRIBUTE,
    "revision",
    "started_at",
    "last_used_at",
    "replaced_at",
    "methods",
    "device",
)
_OF_ADDRESSES: Final = ("held",)
_OF_OUTCOMES: Final = ("command_type", "status", "code", "recorded_at", "source", "by_email")
_OF_THEIR_ORIGIN: Final = (
    "fingerprint",
    "events",
    "correlation_id",
    "traceparent",
    "tracestate",
    "actor",
    "producer",
    "principal",
)
_OF_BANS: Final = ("until",)
_OF_THE_OUTBOX: Final = (
    "kind",
    "commands",
    "parked_because",
    "attempts",
    "touched_at",
    "position",
    "unreadable",
    "final",
    "address",
)

OF_READERS: Final = (*_OF_ITEMS, *_OF_USERS, *_OF_SESSIONS, *_OF_ADDRESSES, *_OF_OUTCOMES)
"""Attributes that `UserReader(credentials=False)` requests."""
OF_OPERATORS: Final = (*OF_READERS, *_OF_THEIR_ORIGIN, *_OF_BANS, *_OF_THE_OUTBOX)
"""Attributes that the command line requests: all but the credentials."""


def projection(attributes: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of a read of attributes; aliases allow names that are reserved."""
    names = {f"#p{number}": name for number, name in enumerate(attributes)}
    return {"ProjectionExpression": ", ".join(names), "ExpressionAttributeNames": names}


_EMPTY: Final[Any] = {"S": ""}
_REQUIRED: Final[dict[str, Item]] = {
    table.SESSION_PREFIX: {
        table.REFRESH_FAMILY_HASH: _EMPTY,
        "refresh_token_hashes": _EMPTY,
        "refresh_token_hash": _EMPTY,
    },
    table.COMMAND_PREFIX: {"fingerprint": _EMPTY},
}
"""Attributes that an item must have, by the prefix of its sort key."""


def completed(item: Item) -> Item:
    """Return an item with an empty text for each required attribute that was not requested.

    An empty hash is equal to no hash, so no token is accepted for such a session.
    """
    sort = item[table.SORT_KEY].get("S", "")
    for prefix, required in _REQUIRED.items():
        if sort.startswith(prefix):
            return {**required, **item}
    return item
