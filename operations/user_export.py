"""Export everything the table stores about one user, item by item, as stored.

Items are read without the mapper, so that unknown items (of a later format, or damaged) are
included. Each item is read consistently; together they are not a snapshot of one point in time.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from adapters.dynamodb import table
from adapters.dynamodb.reads import Key, TableReads, key_of
from adapters.dynamodb.repository import DEFAULT_RETRIES
from application.outbox import SHARDS
from domain.values import EmailAddress, render_time
from operations.users import find_user
from worker.connections import Aws

PARTITIONS = (
    *(table.outbox_partition(shard) for shard in range(SHARDS)),
    table.PARKED_PARTITION,
)
"""Partitions that may contain pointers to a person's outcomes."""
_SINGLE = {table.USER: "user", table.TWO_FACTOR: "two_factor"}
"""Sections of one item, by its sort key."""
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
    reads = TableReads(aws.dynamodb, aws.settings.table, DEFAULT_RETRIES)
    items = stored_items(reads, user_id)
    return export_of(user_id, items, datetime.now(UTC)) if any(items.values()) else None


def export_of(user_id: str, items: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return the export of the items that were read, with secrets as `SET`."""
    outcomes = sorted(items["outcomes"], key=lambda item: str(item.get("recorded_at", "")))
    shown = {
        **items,
        "outcomes": [_with_events(item) for item in outcomes],
        "outbox": [_entry(item, user_id) for item in items["outbox"]],
    }
    sections = items.values()
    return {
        "exported_at": render_time(now),
        "about": _NOTE,
        "user_id": user_id,
        "erased": bool(items["user"] and items["user"].get("erased")),
        "items": sum(len(each) if isinstance(each, list) else bool(each) for each in sections),
        **{name: without_secrets(value) for name, value in shown.items()},
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


def stored_items(reads: TableReads, user_id: str) -> dict[str, Any]:
    """Return everything stored about a person, by section, as plain values with `pk` and `sk`.

    Queries page by page, without a scan and without a size limit. The whole outbox is read; it
    contains only entries that are not published yet.

    Raises:
        StoreUnavailableError: some items could not be read.
    """

    def owned(*keys: Key) -> list[dict[str, Any]]:
        found = reads.get(keys)  # a key may belong to another user by now
        items = [plain(found[key]) for key in keys if key in found]
        return [item for item in items if item.get("user_id") == user_id]

    found: dict[str, Any] = {
        "user": None,
        "address": None,
        "two_factor": None,
        "banned_address": None,  # the ban of the address of an erased user; without the address
        "sessions": [],
        "outcomes": [],
        "by_email": [],  # second records of commands that named the person by e-mail address
        "outbox": [],  # pointers to outcomes of the person, and an unfinished scrub job
        "other": [],  # items in the person's partition of a kind that this version does not know
    }
    for page in reads.partition("a user's items", table.USER_PREFIX + user_id):
        for item in page:
            _put(found, key_of(item).sort, plain(item))
    for partition in PARTITIONS:
        for page in reads.partition("the outbox", partition):
            found["outbox"] += [item for item in map(plain, page) if _names(item, user_id)]
    email, ban = ((found["user"] or {}).get(name) for name in ("email", "ban"))
    addresses = [EmailAddress(email).key] if isinstance(email, str) else []
    addresses += [str(entry["address"]) for entry in found["outbox"] if "address" in entry]
    keys = [Key(table.EMAIL_PREFIX + each, table.EMAIL) for each in dict.fromkeys(addresses)]
    found["address"] = next(iter(owned(*keys)), None)
    hashed = ban.get("address_hash") if isinstance(ban, dict) else None
    if isinstance(hashed, str):
        banned = owned(Key(table.BANNED_PREFIX + hashed, table.BANNED))
        found["banned_address"] = next(iter(banned), None)
    sorts = [outcome["sk"] for outcome in found["outcomes"] if outcome.get("by_email")]
    found["by_email"] = owned(*(Key(sort, sort) for sort in sorts))
    return found


def _put(found: dict[str, Any], sort: str, item: dict[str, Any]) -> None:
    if sort in _SINGLE:
        found[_SINGLE[sort]] = item
    elif sort.startswith(table.SESSION_PREFIX):
        found["sessions"].append(item)
    elif sort.startswith(table.COMMAND_PREFIX):
        found["outcomes"].append(item)
    else:
        found["other"].append(item)


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
