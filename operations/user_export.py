"""All that the table holds of one person, item by item and as it is stored.

Read without the mapper, so that what it does not know, of a later format or damaged, is not
left out. Each item is read consistently; together they are no snapshot of one time.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from adapters.dynamodb import table
from adapters.dynamodb.calls import Retries
from adapters.dynamodb.reads import Key, TableReads, key_of
from adapters.dynamodb.repository import DEFAULT_RETRIES
from application.outbox import SHARDS
from domain.values import EmailAddress

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from adapters.dynamodb.table import Item

PARTITIONS = (
    *(table.outbox_partition(shard) for shard in range(SHARDS)),
    table.PARKED_PARTITION,
)
"""Where pointers to a person's outcomes may be."""


@dataclass(slots=True)
class StoredPerson:
    """What is stored of a person: items as plain values, with their keys `pk` and `sk`."""

    user: dict[str, Any] | None = None
    address: dict[str, Any] | None = None
    two_factor: dict[str, Any] | None = None
    sessions: list[dict[str, Any]] = field(default_factory=list)
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    by_email: list[dict[str, Any]] = field(default_factory=list)
    """Second records of commands that named the person by e-mail address."""
    outbox: list[dict[str, Any]] = field(default_factory=list)
    """Pointers to outcomes of the person, and a scrub job that is not done yet."""
    other: list[dict[str, Any]] = field(default_factory=list)
    """What lies with the person and is of no kind that this version knows."""

    @property
    def items(self) -> int:
        """How many items there are."""
        single = (self.user, self.address, self.two_factor)
        many = (self.sessions, self.outcomes, self.by_email, self.outbox, self.other)
        return sum(item is not None for item in single) + sum(len(items) for items in many)


class UserDataReader:
    """Collects all that is stored of a person, with queries and without a scan."""

    def __init__(
        self, client: DynamoDBClient, table_name: str, retries: Retries = DEFAULT_RETRIES
    ) -> None:
        """Read `table_name`; the client is thread-safe and may be shared."""
        self._reads = TableReads(client, table_name, retries)

    def read(self, user_id: str) -> StoredPerson:
        """Give everything: page by page, however much it is.

        The outbox holds only what has not been published yet; it is read whole.

        Raises:
            StoreUnavailableError: not all could be read.
        """
        found = StoredPerson()
        for item in self._partition("a user's items", table.USER_PREFIX + user_id):
            _put(found, item)
        found.address = self._address(found.user, user_id)
        found.by_email = self._references(found.outcomes, user_id)
        for partition in PARTITIONS:
            entries = self._partition("the outbox", partition)
            found.outbox += [item for item in map(plain, entries) if _names(item, user_id)]
        return found

    def _partition(self, operation: str, partition: str) -> Iterator[Item]:
        for page in self._reads.partition(operation, partition):
            yield from page

    def _address(self, user: Mapping[str, Any] | None, user_id: str) -> dict[str, Any] | None:
        """Read who has the address that the user item shows: another, if it just changed hands."""
        email = user and user.get("email")
        if not isinstance(email, str):
            return None
        key = Key(table.EMAIL_PREFIX + EmailAddress(email).key, table.EMAIL)
        for item in map(plain, self._reads.get([key]).values()):
            return item if item.get("user_id") == user_id else None
        return None

    def _references(self, outcomes: list[dict[str, Any]], user_id: str) -> list[dict[str, Any]]:
        sorts = [outcome["sk"] for outcome in outcomes if outcome.get("by_email")]
        items = self._reads.get([Key(sort, sort) for sort in sorts]).values()
        return [item for item in map(plain, items) if item.get("user_id") == user_id]


def _put(found: StoredPerson, item: Item) -> None:
    sort = key_of(item).sort
    values = plain(item)
    if sort == table.USER:
        found.user = values
    elif sort == table.TWO_FACTOR:
        found.two_factor = values
    elif sort.startswith(table.SESSION_PREFIX):
        found.sessions.append(values)
    elif sort.startswith(table.COMMAND_PREFIX):
        found.outcomes.append(values)
    else:
        found.other.append(values)


def _names(entry: Mapping[str, Any], user_id: str) -> bool:
    words = str(entry.get("commands", "")).split()
    return any(word.partition("/")[0] == user_id for word in words)


def plain(item: Mapping[str, Any]) -> dict[str, Any]:
    """Give an item's attributes as JSON has them; binary values in base64."""
    return {name: _plain(value) for name, value in item.items()}


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


_PLAIN: dict[str, Callable[[Any], Any]] = {
    "N": _number,
    "NULL": lambda _: None,
    "B": lambda octets: base64.b64encode(octets).decode(),
    "L": lambda values: [_plain(each) for each in values],
    "M": plain,
    "NS": lambda texts: [_number(each) for each in texts],
    "BS": lambda values: [base64.b64encode(each).decode() for each in values],
}
"""By DynamoDB's type; S, SS and BOOL are as JSON has them."""


def _plain(value: Mapping[str, Any]) -> Any:
    ((kind, inner),) = value.items()
    return _PLAIN.get(kind, lambda same: same)(inner)
