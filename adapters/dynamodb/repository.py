"""The repository of users in DynamoDB."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from heapq import nlargest
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from adapters.dynamodb import records, table
from adapters.dynamodb.calls import Retries
from adapters.dynamodb.commit import TransactionWriter
from adapters.dynamodb.reads import Key, TableReads
from adapters.dynamodb.snapshot import read_snapshot
from application.ports import CommandKey
from application.repository import (
    HELD,
    READ_FIRST_BELOW,
    CommitReport,
    LoadRequest,
    Outcome,
    OutcomePage,
    Snapshot,
    UserChange,
    UserRepository,
)
from domain.user import User
from domain.values import EmailAddress

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from adapters.dynamodb.table import Item

DEFAULT_RETRIES: Final = Retries()
OWNER_READS: Final = 3
"""Attempts to read an address and its owner consistently: its owner may change between the
reads."""


_BOUNDARY: Final = table.COMMAND_PREFIX + READ_FIRST_BELOW
_RANGES: Final[Sequence[tuple[str, str]]] = (
    (table.COMMAND_PREFIX, _BOUNDARY),
    (_BOUNDARY, table.COMMAND_PREFIX + "g"),  # ids are hexadecimal
)
"""Ranges of sort keys in the order in which `outcome_page` reads them."""


class DynamoDBUserRepository(UserRepository):
    """Users, addresses and outcomes in one table."""

    def __init__(
        self,
        client: DynamoDBClient,
        table_name: str,
        retries: Retries = DEFAULT_RETRIES,
        *,
        attributes: Sequence[str] | None = None,
    ) -> None:
        """Use `table_name`; the client is thread-safe and may be shared.

        With `attributes` only these are read (see `adapters.dynamodb.projection`): what is read of
        a user or a session must then not be committed, since the rest of it would be lost.
        """
        self._reads = TableReads(client, table_name, retries, attributes)
        self._writer = TransactionWriter(client, table_name, retries)

    def get(self, user_id: str) -> User | None:
        """See the port."""
        return self._require(LoadRequest(users={user_id})).users.get(user_id)

    def get_many(self, user_ids: Sequence[str]) -> dict[str, User]:
        """See the port."""
        return self._require(LoadRequest(users=set(user_ids))).users

    def get_by_email(self, email: EmailAddress) -> User | None:
        """See the port. Reads the address, then its owner, who must still have it."""
        for _ in range(OWNER_READS):
            owner = self._require(LoadRequest(addresses={email.key})).addresses.get(email.key)
            if owner is None or owner == HELD:
                return None
            user = self.get(owner)
            if user is not None and user.email is not None and user.email.key == email.key:
                return user
        return None

    def history(
        self, user_id: str, limit: int = 100, before: Outcome | None = None
    ) -> list[Outcome]:
        """See the port. Reads all outcomes, since they are keyed by command, not by time.

        The cost in read units and time therefore grows with the user's history. The memory does
        not: no more than `limit` outcomes are kept.
        """
        pages = self._reads.partition(
            "a user's outcomes", table.USER_PREFIX + user_id, table.COMMAND_PREFIX
        )
        outcomes = (records.parse_outcome(item) for page in pages for item in page)
        meant = (o for o in outcomes if before is None or o.place < before.place)
        return nlargest(limit, meant, key=attrgetter("place"))

    def outcome_page(self, user_id: str, size: int, after: str | None = None) -> OutcomePage:
        """See the port. Two Queries at most, which together read no more than `size` + 1 items."""
        ranges = _RANGES
        start: dict[str, Any] = {}
        if after is not None:
            ranges = _RANGES if after < READ_FIRST_BELOW else _RANGES[1:]
            start = {"ExclusiveStartKey": table.outcome_key(user_id, after)}
        items: list[Item] = []
        more = False
        for low, high in ranges:
            found, last = self._reads.page(
                "a page of a user's outcomes",
                KeyConditionExpression="pk = :pk AND sk BETWEEN :low AND :high",
                ExpressionAttributeValues={
                    ":pk": {"S": table.USER_PREFIX + user_id},
                    ":low": {"S": low},
                    ":high": {"S": high},
                },
                ConsistentRead=True,
                ScanIndexForward=False,
                Limit=size + 1 - len(items),
                **start,
            )
            items += found
            start = {}
            more = last is not None or len(items) > size
            if more:
                break
        outcomes = [records.parse_outcome(item) for item in items[:size]]
        return OutcomePage(outcomes, outcomes[-1].command_id if more else None)

    def outcome(self, key: CommandKey) -> Outcome | None:
        """See the port."""
        return self._require(LoadRequest(outcomes={key})).outcomes.get(key)

    def load(self, request: LoadRequest) -> Snapshot:
        """See the port. One BatchGetItem per 100 items.

        Also reads the users of the requested sessions and second factors, which are parts of them.
        """
        return read_snapshot(*self._reads.get_available(_keys(request)))[0]

    def _require(self, request: LoadRequest) -> Snapshot:
        """Load for a caller that needs all items.

        Raises:
            MalformedItemError: an item is invalid.
            StoreUnavailableError: some items could not be read.
        """
        snapshot, errors = read_snapshot(self._reads.get(_keys(request)))
        if errors:
            raise errors[0]
        return snapshot

    def commit(self, changes: Sequence[UserChange], now: datetime) -> CommitReport:
        """See the port."""
        return self._writer.commit(changes, now)


def _keys(request: LoadRequest) -> list[Key]:
    owners = {user_id for user_id, _ in request.sessions}
    keys = [Key(table.USER_PREFIX + u, table.USER) for u in request.users | owners]
    keys += [Key(table.USER_PREFIX + u, table.USER) for u in request.two_factors]
    keys += [
        Key(table.USER_PREFIX + user_id, table.SESSION_PREFIX + session_id)
        for user_id, session_id in request.sessions
    ]
    keys += [Key(table.USER_PREFIX + u, table.TWO_FACTOR) for u in request.two_factors]
    keys += [Key(table.EMAIL_PREFIX + address, table.EMAIL) for address in request.addresses]
    keys += [Key(table.BANNED_PREFIX + hashed, table.BANNED) for hashed in request.banned]
    keys += [outcome_read_key(key) for key in request.outcomes]
    return keys


def outcome_read_key(key: CommandKey) -> Key:
    """Return the primary key that an outcome is stored under."""
    sort = table.COMMAND_PREFIX + key.command_id
    return Key(sort if key.user_id is None else table.USER_PREFIX + key.user_id, sort)
