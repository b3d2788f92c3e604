"""Export everything the table stores about one user, item by item, as stored.

Items are read without the mapper, so that unknown items (of a later format, or damaged) are
included. Each item is read consistently; together they are not a snapshot of one point in time.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from adapters.dynamodb import table
from adapters.dynamodb.calls import Retries
from adapters.dynamodb.reads import Key, TableReads, key_of
from adapters.dynamodb.repository import DEFAULT_RETRIES
from application.outbox import SHARDS
from domain.values import EmailAddress, render_time
from operations.users import find_user
from worker.connections import Aws

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from adapters.dynamodb.table import Item

PARTITIONS = (
    *(table.outbox_partition(shard) for shard in range(SHARDS)),
    table.PARKED_PARTITION,
)
"""Partitions that may contain pointers to a person's outcomes."""


SET = "set"
"""Replaces a secret: not even the user may read a hash, a ciphertext or a token."""
# matched by name, so that secrets that a later version stores are hidden too
_SECRET = re.compile(r"(hash(es)?|fingerprint|ciphertext|cipher|secret|password|token|code)s?$")
_NO_SECRET = frozenset({"code"})  # the code of a rejection
_NOTE = (
    "All stored items of this user. Hashes, ciphertexts and the fingerprints of commands are "
    'replaced by "set". Times are UTC; expires_at of sessions and outcomes is in epoch seconds, '
    "and expired items are deleted within days. Backups, and data that subscribers of events keep, "
    "are not included."
)


def export_user(aws: Aws, who: str | EmailAddress) -> dict[str, Any] | None:
    """Return everything stored about a user, secrets as `SET`; `None` if nothing is stored.

    An erased user is found by id only: the address is no longer stored.

    Raises:
        StoreUnavailableError: some items could not be read.
    """
    aws.require_shared_store()
    if isinstance(who, str):
        user_id = who
    elif user := find_user(aws.repository, who):
        user_id = user.user_id
    else:
        return None
    person = UserDataReader(aws.dynamodb, aws.settings.table).read(user_id)
    return export_of(user_id, person, datetime.now(UTC)) if person.items else None


def export_of(user_id: str, person: StoredPerson, now: datetime) -> dict[str, Any]:
    """Return the export of the items that were read, with secrets as `SET`."""
    outcomes = sorted(person.outcomes, key=lambda item: str(item.get("recorded_at", "")))
    items: dict[str, Any] = {
        "user": person.user,
        "address": person.address,
        "two_factor": person.two_factor,
        "banned_address": person.banned_address,
        "sessions": person.sessions,
        "outcomes": [_with_events(item) for item in outcomes],
        "by_email": person.by_email,
        "outbox": [_entry(item, user_id) for item in person.outbox],
        "other": person.other,
    }
    return {
        "exported_at": render_time(now),
        "about": _NOTE,
        "user_id": user_id,
        "erased": bool(person.user and person.user.get("erased")),
        "items": person.items,
        **{name: without_secrets(value) for name, value in items.items()},
    }


def _with_events(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an outcome with its events as objects; an invalid list of events stays unchanged."""
    try:
        rows = json.loads(item["events"])
        names = ("type", "category", "sequence", "data")
        events = [dict(zip(names, row, strict=True)) for row in rows]
    except (KeyError, ValueError, TypeError, RecursionError):
        return dict(item)
    return {**item, "events": events}


def _entry(item: Mapping[str, Any], user_id: str) -> dict[str, Any]:
    """Return an entry without the commands of other users in the same transaction."""
    words = str(item.get("commands", "")).split()
    own = [word for word in words if word.partition("/")[0] == user_id]
    return {**item, "commands": own}


def without_secrets(value: Any, name: str = "") -> Any:
    """Return a value with secrets, detected by name, replaced by `SET`; empty values stay empty."""
    match value:
        case dict():
            return {key: without_secrets(each, key) for key, each in value.items()}
        case list() if not _is_secret(name):
            return [without_secrets(each) for each in value]
        case None | bool() | "" | []:
            return value
        case _:
            return SET if _is_secret(name) else value


def _is_secret(name: str) -> bool:
    return name not in _NO_SECRET and _SECRET.search(name.lower()) is not None


@dataclass(slots=True)
class StoredPerson:
    """Items stored about a person, as plain values, with their keys `pk` and `sk`."""

    user: dict[str, Any] | None = None
    address: dict[str, Any] | None = None
    two_factor: dict[str, Any] | None = None
    banned_address: dict[str, Any] | None = None
    """The ban of the address of an erased user; contains no address."""
    sessions: list[dict[str, Any]] = field(default_factory=list)
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    by_email: list[dict[str, Any]] = field(default_factory=list)
    """Second records of commands that named the person by e-mail address."""
    outbox: list[dict[str, Any]] = field(default_factory=list)
    """Pointers to outcomes of the person, and an unfinished scrub job."""
    other: list[dict[str, Any]] = field(default_factory=list)
    """Items in the person's partition of a kind that this version does not know."""

    @property
    def items(self) -> int:
        """Number of items."""
        single = (self.user, self.address, self.two_factor, self.banned_address)
        many = (self.sessions, self.outcomes, self.by_email, self.outbox, self.other)
        return sum(item is not None for item in single) + sum(len(items) for items in many)


class UserDataReader:
    """Collects everything stored about a person, with queries and without a scan."""

    def __init__(
        self, client: DynamoDBClient, table_name: str, retries: Retries = DEFAULT_RETRIES
    ) -> None:
        """Create a reader of `table_name`; the client is thread-safe and may be shared."""
        self._reads = TableReads(client, table_name, retries)

    def read(self, user_id: str) -> StoredPerson:
        """Read everything, page by page, without a size limit.

        The whole outbox is read; it contains only entries that are not published yet.

        Raises:
            StoreUnavailableError: some items could not be read.
        """
        found = StoredPerson()
        for item in self._partition("a user's items", table.USER_PREFIX + user_id):
            _put(found, item)
        found.address = self._address(found.user, user_id)
        found.banned_address = self._banned_address(found.user, user_id)
        found.by_email = self._references(found.outcomes, user_id)
        for partition in PARTITIONS:
            entries = self._partition("the outbox", partition)
            found.outbox += [item for item in map(plain, entries) if _names(item, user_id)]
        if found.address is None:
            held = (entry["address"] for entry in found.outbox if "address" in entry)
            found.address = next((self._address_item(str(key), user_id) for key in held), None)
        return found

    def _partition(self, operation: str, partition: str) -> Iterator[Item]:
        for page in self._reads.partition(operation, partition):
            yield from page

    def _address(self, user: Mapping[str, Any] | None, user_id: str) -> dict[str, Any] | None:
        """Return the item of the user's address; `None` if it now belongs to another user."""
        email = user and user.get("email")
        if not isinstance(email, str):
            return None
        return self._address_item(EmailAddress(email).key, user_id)

    def _address_item(self, address: str, user_id: str) -> dict[str, Any] | None:
        key = Key(table.EMAIL_PREFIX + address, table.EMAIL)
        for item in map(plain, self._reads.get([key]).values()):
            return item if item.get("user_id") == user_id else None
        return None

    def _banned_address(
        self, user: Mapping[str, Any] | None, user_id: str
    ) -> dict[str, Any] | None:
        ban = user and user.get("ban")
        hashed = ban.get("address_hash") if isinstance(ban, dict) else None
        if not isinstance(hashed, str):
            return None
        found = self._reads.get([Key(table.BANNED_PREFIX + hashed, table.BANNED)]).values()
        return next((item for item in map(plain, found) if item.get("user_id") == user_id), None)

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
    """Return an item's attributes as JSON values; binary values in base64."""
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
"""Converters by DynamoDB type; S, SS and BOOL need none."""


def _plain(value: Mapping[str, Any]) -> Any:
    ((kind, inner),) = value.items()
    return _PLAIN.get(kind, lambda same: same)(inner)
