"""Read items of the table of users by key, consistently."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from biome_users import _aws
from biome_users._items import RawItem
from biome_users.errors import UnavailableError, UsersError

Key: TypeAlias = tuple[str, str]
"""Partition key and sort key."""
MAX_KEYS: Final = 100
"""Keys of one BatchGetItem."""
ATTEMPTS: Final = 6
"""Calls for keys that DynamoDB leaves unprocessed."""
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
"""Seconds between two calls at most; the limit doubles with each call, with full jitter."""
REFRESH_TOKEN_INDEX: Final = "RefreshTokenIndex"  # noqa: S105 - the name of an index

WITHOUT_CREDENTIALS: Final = (
    *("pk", "sk", "schema", "user_id", "version", "created_at", "updated_at"),
    *("first_name", "last_name", "email", "email_verified", "password_hash_legacy"),
    *("credential_version", "roles", "locale", "time_zone", "terms", "failed_logins"),
    *("last_failure_at", "lock_count", "locked_until", "last_totp_step"),
    *("two_factor_enabled", "two_factor_unverified", "ban", "deactivated"),
    *("deactivation_reason", "erased", "live_sessions", "session_id", "expires_at"),
    *("revision", "started_at", "last_used_at", "replaced_at", "methods", "device"),
    *("held", "command_type", "status", "code", "recorded_at", "source", "by_email"),
)
"""Attributes that a reader without credentials requests: those that its policy allows."""


class UserTable:
    """Reads of one table."""

    def __init__(
        self,
        client: Any,
        name: str,
        attributes: Sequence[str] | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Read the table `name`; with `attributes`, request these only."""
        self._client = client
        self._name = name
        self._sleep = sleep
        self._projection: dict[str, Any] = {}
        if attributes is not None:  # aliases allow names that are reserved
            names = {f"#p{number}": each for number, each in enumerate(attributes)}
            self._projection = {
                "ProjectionExpression": ", ".join(names),
                "ExpressionAttributeNames": names,
            }

    def get(self, keys: Iterable[Key]) -> dict[Key, RawItem]:
        """Return items by key, 100 per call; an item that does not exist is absent.

        Raises:
            UnavailableError: a call failed, or DynamoDB keeps leaving keys unprocessed.
        """
        found: dict[Key, RawItem] = {}
        unread = list(dict.fromkeys(keys))
        for attempt in range(ATTEMPTS):
            if attempt:
                longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1))
                self._sleep(random.uniform(0, longest))  # noqa: S311 - jitter
            left: list[Key] = []
            for start in range(0, len(unread), MAX_KEYS):
                left += self._get_batch(unread[start : start + MAX_KEYS], found)
            if not left:
                return found
            unread = left
        raise UnavailableError("a read failed: DynamoDB leaves keys unprocessed")

    def _get_batch(self, keys: Sequence[Key], found: dict[Key, RawItem]) -> list[Key]:
        wanted = [{"pk": {"S": partition}, "sk": {"S": sort}} for partition, sort in keys]
        request = {"Keys": wanted, "ConsistentRead": True, **self._projection}
        with _reading():
            answer = self._client.batch_get_item(RequestItems={self._name: request})
            read = {_key(item): item for item in answer["Responses"].get(self._name, ())}
            found |= {key: read[key] for key in keys if key in read}
            left = answer.get("UnprocessedKeys", {}).get(self._name) or {}
            return [_key(item) for item in left.get("Keys", ())]

    def sessions_of_family(self, stored_hash: str) -> list[Key]:
        """Return the keys of the sessions with a family, by the index, which may lag behind.

        Raises:
            UnavailableError: a call failed.
        """
        with _reading():
            answer = self._client.query(
                TableName=self._name,
                IndexName=REFRESH_TOKEN_INDEX,
                KeyConditionExpression="refresh_family_hash = :h",
                ExpressionAttributeValues={":h": {"S": stored_hash}},
            )
            return [_key(item) for item in answer["Items"]]


@contextmanager
def _reading() -> Iterator[None]:
    """Translate every error that a call raises: also those of credentials and parsers."""
    try:
        yield
    except UsersError:
        raise
    except Exception as error:
        raise UnavailableError(f"a read failed with {_aws.error_code(error)}") from error


def _key(item: RawItem) -> Key:
    return item["pk"]["S"], item["sk"]["S"]
