"""A table with old items of every kind, simulated next formats, and workers beside a migration.

Users of format 2 have a `locale`. Sessions of format 1 had their hash as `token`, so that they were
not in the index.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any, Final, TypeAlias

from adapters.dynamodb import Retries, mapper, records, table
from adapters.dynamodb.formats import ItemFormat
from application.ports import CommandKey, JobKind, OutboxEntry
from domain.user import User
from domain.values import EmailAddress, render_time
from operations.migration.counts import Counts
from operations.migration.kinds import KINDS, Kind
from operations.migration.metered import MeteredTable
from operations.migration.pages import PageMigration
from operations.migration.scan import Migration, Progress
from operations.migration.throughput import Bucket
from tests.builders import NOW, email, uid
from tests.persistence import new_user, outcome, session, two_factor
from tests.reliability.in_process_dynamodb import (
    ANSWERED,
    InProcessDynamoDB,
    _bare,
    _condition_holds,
    _key,
    cancelled,
)
from tests.reliability.wire import Process, ProcessCrash, Wire

Item: TypeAlias = dict[str, Any]
FAST: Final = Retries(tries=6, sleep=lambda _: None)
PAGE: Final = 4


def _with_locale(item: Item) -> Item:
    return {**item, "locale": {"S": "en"}}


def _without_locale(item: Item) -> Item:
    return {name: value for name, value in item.items() if name != "locale"}


def _indexed(item: Item) -> Item:
    new = {name: value for name, value in item.items() if name != "token"}
    return {**new, table.REFRESH_FAMILY_HASH: item["token"]}


def _next(name: str, upcast: Callable[[Item], Item]) -> Kind:
    kind = KINDS[name]
    number, upcasts = kind.item_format.number, kind.item_format.upcasts
    item_format = ItemFormat(name, number + 1, {**upcasts, number: upcast})
    return replace(kind, item_format=item_format)


NEXT: Final[Mapping[str, Kind]] = {
    **KINDS,
    "user": _next("user", _with_locale),
    "session": _next("session", _indexed),
}
"""The target formats of the migrations in these tests."""
_EXPANDED: Final = ItemFormat("user", 2, {1: _with_locale}, {2: _without_locale})
EXPANDED: Final = {**NEXT, "user": replace(NEXT["user"], item_format=_EXPANDED)}
"""The release before: it knows the format of `NEXT`, and writes the older one."""


class MigratedDynamoDB(InProcessDynamoDB):
    """In-process DynamoDB with the calls of a migration, and the capacity that they consume."""

    def scan(
        self,
        *,
        TableName: str,  # noqa: N803
        Segment: int,  # noqa: N803
        TotalSegments: int,  # noqa: N803
        Limit: int,  # noqa: N803
        ExclusiveStartKey: Item | None = None,  # noqa: N803
        ReturnConsumedCapacity: str,  # noqa: N803
        **filtered: Any,
    ) -> dict[str, Any]:
        """Read a page of a segment in the order of the hashes of partition keys."""
        after = ("", "") if ExclusiveStartKey is None else _place(_key(ExclusiveStartKey))
        keys = sorted(self.items, key=_place)
        keys = [k for k in keys if int(_place(k)[0], 16) % TotalSegments == Segment]
        page = [self.items[k] for k in keys if _place(k) > after][:Limit]
        answer: dict[str, Any] = {
            "Items": [item for item in page if not _left_out(item, filtered)],
            "ScannedCount": len(page),
            "ConsumedCapacity": {"CapacityUnits": len(page) / 2},
            **ANSWERED,
        }
        if len(page) == Limit:
            answer["LastEvaluatedKey"] = _bare(page[-1])
        return answer

    def put_item(
        self,
        *,
        TableName: str,  # noqa: N803
        Item: Item,  # noqa: N803
        **condition: Any,
    ) -> dict[str, Any]:
        """Put an item, if the condition on the stored item holds."""
        answer = super().put_item(TableName=TableName, Item=Item, **condition)
        return {"ConsumedCapacity": {"CapacityUnits": 1.0}, **answer}

    def batch_get_item(self, *, RequestItems: Any, **_: Any) -> dict[str, Any]:  # noqa: N803
        """Read items."""
        return super().batch_get_item(RequestItems=RequestItems)

    def transact_write_items(self, *, TransactItems: list[Any], **_: Any) -> dict[str, Any]:  # noqa: N803
        """Apply all actions if all conditions hold; a condition check is an action too."""
        rows = [(name, body) for action in TransactItems for name, body in action.items()]
        keys = [_key(body.get("Item") or body["Key"]) for _, body in rows]
        holds = [self._holds(key, body) for key, (_, body) in zip(keys, rows, strict=True)]
        if not all(holds):
            raise cancelled(["None" if hold else "ConditionalCheckFailed" for hold in holds])
        for key, (name, body) in zip(keys, rows, strict=True):
            if name == "Put":
                self.items[key] = body["Item"]
            elif name == "Delete":
                self.items.pop(key, None)
        return dict(ANSWERED)

    def _holds(self, key: tuple[str, str], action: Mapping[str, Any]) -> bool:
        names = action.get("ExpressionAttributeNames", {})
        values = action.get("ExpressionAttributeValues", {})
        parts = (action.get("ConditionExpression") or "").split(" AND ")
        for part in filter(None, parts):
            name, *rest = part.split(" ")
            condition = " ".join([names.get(name, name), *rest])
            if not _condition_holds(condition, self.items.get(key), values):
                return False
        return True


def _left_out(item: Item, filtered: Mapping[str, Any]) -> bool:
    expression = "NOT (begins_with(sk, :outcome) AND #schema = :settled)"
    assert filtered["FilterExpression"] == expression
    assert filtered["ExpressionAttributeNames"] == {"#schema": "schema"}
    values = filtered["ExpressionAttributeValues"]
    is_outcome: bool = item["sk"]["S"].startswith(values[":outcome"]["S"])
    return is_outcome and bool(item.get("schema") == values[":settled"])


def _place(key: tuple[str, str]) -> tuple[str, str]:
    return hashlib.sha256(key[0].encode()).hexdigest()[:8], key[1]


# --- what is stored ------------------------------------------------------------------------


def put(database: InProcessDynamoDB, *items: Item) -> None:
    """Store items unchanged."""
    for item in items:
        database.items[_key(item)] = item


def address_item(address: str, owner: str) -> Item:
    """Create the item of an address; address and owner are short names."""
    return mapper.render_address(email(address), uid(owner))


def old_session(name: str, owner: str) -> Item:
    """Create a session of the present format, without the attribute of the next one."""
    item: Item = mapper.render_session(uid(owner), session(name, revision=1))
    item["token"] = item.pop(table.REFRESH_FAMILY_HASH)
    return item


def old_table() -> MigratedDynamoDB:
    """Create a table with old, missing and damaged items; comments give the expected results."""
    database = MigratedDynamoDB()
    entry = OutboxEntry(
        table.outbox_partition(3),
        f"{render_time(NOW)}#{uid('entry')}",
        JobKind.PUBLISH,
        (CommandKey(uid("ada"), uid("register")),),
        NOW,
    )
    put(
        database,
        mapper.render_user(new_user("ada")),  # format 2
        address_item("ada", "ada"),
        old_session("phone", "ada"),  # indexed
        mapper.render_two_factor(uid("ada"), two_factor(revision=1)),
        records.render_outcome(outcome("register", "ada")),
        records.render_entry(entry),
        mapper.render_user(new_user("grace")),  # format 2, address reserved
        address_item("grace-before", "grace"),  # released: she has another address
        address_item("forgotten", "nobody"),  # released: the user does not exist
        mapper.render_user(new_user("edsger")),  # address reserved, once ada's claim is released
        address_item("edsger", "ada"),  # released: she has another address
        # Format 2; left unchanged: his address belongs to ada.
        mapper.render_user(new_user("alan", "ada")),
    )
    put(database, *damaged_items())
    return database


def damaged_items() -> list[Item]:
    """Create items that must stay unchanged."""
    without_number: Item = mapper.render_user(new_user("without-number"))
    del without_number["schema"]
    later: Item = mapper.render_session(uid("ada"), session("later", revision=1))
    later["schema"] = {"N": "9"}
    without_token = old_session("without token", "ada")
    del without_token["token"]
    foreign: Item = {**table.key("ada@example.com", "NOTE"), "schema": {"N": "1"}}
    return [without_number, later, without_token, foreign]


def stored_user(database: InProcessDynamoDB, name: str) -> User | None:
    """Parse a stored user like a worker that knows both formats."""
    item = database.items.get((f"USER#{uid(name)}", "USER"))
    read = None if item is None else NEXT["user"].upcast(item)[1]
    assert read is None or isinstance(read, User)
    return read


def change(
    database: InProcessDynamoDB, name: str, *, number: int | None = None, **changed: Any
) -> None:
    """Change user and address in one step, like a worker's transaction.

    Without a `number` it writes the format that it finds, as an old worker would.
    """
    item = database.items[f"USER#{uid(name)}", "USER"]
    before = stored_user(database, name)
    assert before is not None
    after = replace(before, version=before.version + 1, **changed)
    new = mapper.render_user(after)
    if (number or int(item["schema"]["N"])) == 2:
        new = _with_locale(new) | {"schema": {"N": "2"}}
    put(database, new)
    if before.email != after.email:
        if before.email is not None:
            held = database.items.get((f"EMAIL#{before.email.key}", "EMAIL"))
            if held is not None and held["user_id"]["S"] == uid(name):
                del database.items[f"EMAIL#{before.email.key}", "EMAIL"]
        if after.email is not None:
            put(database, mapper.render_address(after.email, uid(name)))


# --- migrations ----------------------------------------------------------------------------


def start(
    client: Any,
    progress: Progress,
    *,
    dry_run: bool = False,
    kinds: Mapping[str, Kind] = NEXT,
) -> Migration:
    """Create a migration that never waits."""
    metered = MeteredTable(client, "users", Bucket(1e9), Bucket(1e9), FAST)
    pages = PageMigration(metered, kinds, dry_run=dry_run)
    return Migration(metered, pages, progress, threading.Event(), PAGE)


def migrate(
    database: MigratedDynamoDB,
    *,
    dry_run: bool = False,
    segments: int = 2,
    kinds: Mapping[str, Kind] = NEXT,
) -> Counts:
    """Migrate without faults."""
    progress = Progress.start(segments)
    start(database, progress, dry_run=dry_run, kinds=kinds).run(lambda _: None, threads=1)
    return progress.counts


def migrate_over(wire: Wire, database: MigratedDynamoDB, runs: int = 5) -> Counts:
    """Migrate over a wire, one call after another, with a new process after each crash."""
    saved = Progress.start(2)

    def save(now: Progress) -> None:
        nonlocal saved
        saved = deepcopy(now)

    for _ in range(runs):
        try:
            start(wire.connect(database, Process()), deepcopy(saved)).run(save, threads=1)
        except (ProcessCrash, Exception) as error:
            if not is_expected(error):
                raise
        else:
            wire.arrive(all_of_them=True)
            return saved.counts
    raise AssertionError(f"not done after {runs} runs")


def is_expected(error: BaseException) -> bool:
    """Return True if a run may end like this: crashed, or with an unavailable table."""
    return isinstance(error, ProcessCrash) or type(error).__name__ == "StoreUnavailableError"


def check(database: InProcessDynamoDB, damaged: list[Item], taken: frozenset[str]) -> None:
    """Check that nothing old is left, addresses are correct, and damaged items are unchanged.

    Users in `taken` have an address that belongs to another user.
    """
    spoilt = {_key(item) for item in damaged}
    assert [database.items.get(_key(item)) for item in damaged] == damaged
    for key, item in database.items.items():
        if key in spoilt:
            continue
        if key[1] == "USER":
            assert item["schema"] == {"N": "2"}, key
        if key[1].startswith("SESSION#"):
            assert item["schema"] == {"N": "3"}, key
            assert table.REFRESH_FAMILY_HASH in item
        if key[1] == "USER":
            _check_user(database, item, taken)
        if key[1] == "EMAIL":
            owner = database.items[f"USER#{item['user_id']['S']}", "USER"]
            assert f"EMAIL#{EmailAddress(owner['email']['S']).key}" == key[0]


def _check_user(database: InProcessDynamoDB, item: Item, taken: frozenset[str]) -> None:
    assert item["locale"] == {"S": "en"}
    if "email" in item and item["user_id"]["S"] not in taken:
        address = database.items[f"EMAIL#{EmailAddress(item['email']['S']).key}", "EMAIL"]
        assert address["user_id"] == item["user_id"]
