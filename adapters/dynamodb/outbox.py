"""The outbox in DynamoDB: entries that name outcomes whose events may not be published yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from botocore.exceptions import ClientError

from adapters.aws.client import error_code
from adapters.dynamodb import records, table
from adapters.dynamodb.attributes import render_timestamp
from adapters.dynamodb.calls import Retries, require_answer, unavailable
from adapters.dynamodb.cancellation import CONDITION_FAILED, reason_codes
from adapters.dynamodb.reads import Key, TableReads, key_of
from adapters.dynamodb.repository import DEFAULT_RETRIES, outcome_read_key
from adapters.dynamodb.scrub import PAGE_SIZE, PARALLEL, Scrubber
from adapters.dynamodb.writes import TableDeletes
from adapters.errors import MalformedItemError
from application.outbox import (
    SHARDS,
    Outbox,
    OutboxPage,
    OutboxPosition,
    OutboxStatus,
    PointedOutcomes,
    ScrubPage,
    final_scrub,
    shuffled_shards,
)
from application.ports import CommandKey, OutboxEntry
from application.repository import Outcome
from domain.values import render_time

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from adapters.dynamodb.table import Item

PARTITIONS: Final = tuple(table.outbox_partition(shard) for shard in range(SHARDS))


class DynamoDBOutbox(Outbox[Outcome]):
    """The outbox, stored in the users' table, where commits write their entries."""

    def __init__(
        self,
        client: DynamoDBClient,
        table_name: str,
        retries: Retries = DEFAULT_RETRIES,
        *,
        page_size: int = PAGE_SIZE,
        parallel: int = PARALLEL,
        choose_shard: Callable[[], int] | None = None,
        attributes: Sequence[str] | None = None,
    ) -> None:
        """Use `table_name`; scrub `page_size` items per page with `parallel` concurrent calls.

        With `attributes` only these are read; entries and outcomes need those of `OF_OPERATORS`.
        """
        self._client = client
        self._table = table_name
        self._reads = TableReads(client, table_name, retries, attributes)
        self._deletes = TableDeletes(client, table_name, retries)
        self._scrubber = Scrubber(
            client, table_name, self._reads, self._deletes, page_size=page_size, parallel=parallel
        )
        self._choose_shard = choose_shard or shuffled_shards()

    def pending(
        self, before: datetime, limit: int = 10, after: OutboxPosition | None = None
    ) -> OutboxPage:
        """See the port."""
        partition = after.partition if after else PARTITIONS[self._choose_shard()]
        start = {"ExclusiveStartKey": table.key(*after)} if after else {}
        items, last = self._reads.page(
            "the outbox",
            KeyConditionExpression="pk = :pk AND sk < :before",
            ExpressionAttributeValues={
                ":pk": {"S": partition},
                ":before": {"S": render_time(before)},
            },
            ConsistentRead=True,
            Limit=limit,
            **start,
        )
        entries, unreadable = _parse_entries(items)
        return OutboxPage(entries, unreadable, _position(last) if last else None)

    def outcomes(self, entries: Sequence[OutboxEntry]) -> PointedOutcomes[Outcome]:
        """See the port. One BatchGetItem per 100 commands, without waiting for throttled keys."""
        commands = {outcome_read_key(c): c for entry in entries for c in entry.commands}
        items, unread = self._reads.get_available(commands)
        found: dict[CommandKey, Outcome] = {}
        unreadable: set[CommandKey] = set()
        for key, item in items.items():
            try:
                found[commands[key]] = records.parse_outcome(item)
            except MalformedItemError:
                unreadable.add(commands[key])
        return PointedOutcomes(found, unreadable, {commands[key] for key in unread})

    def close(self, entries: Sequence[OutboxEntry]) -> None:
        """See the port. One call for a single entry, otherwise one for every 25."""
        self._deletes.delete([Key(entry.partition, entry.sort_key) for entry in entries])

    def update(self, old: OutboxEntry, new: OutboxEntry) -> bool:
        """See the port. One conditional PutItem, or one transaction if the key changes."""
        if (old.partition, old.sort_key) == (new.partition, new.sort_key):
            return self._write("PutItem", self._client.put_item, **self._put(new), **_as_read(old))
        delete = {
            "TableName": self._table,
            "Key": table.key(old.partition, old.sort_key),
            **_as_read(old),
        }
        actions = [{"Delete": delete}, {"Put": self._put(new)}]
        call = self._client.transact_write_items
        return self._write("TransactWriteItems", call, TransactItems=actions)

    def _put(self, entry: OutboxEntry) -> dict[str, Any]:
        return {"TableName": self._table, "Item": records.render_entry(entry)}

    def _write(self, operation: str, call: Callable[..., Any], **parameters: Any) -> bool:
        """Make a conditional write; return False if its condition does not hold.

        Raises:
            StoreUnavailableError: the result of the write is unknown.
        """
        try:
            require_answer(call(**parameters))
        except ClientError as error:
            codes = reason_codes(dict(error.response), 2) or [error_code(error)]
            if codes[0] not in {CONDITION_FAILED, "ConditionalCheckFailedException"}:
                raise unavailable(operation, error) from error
            return False
        except Exception as error:
            raise unavailable(operation, error) from error
        return True

    def repeat_scrub(self, entry: OutboxEntry, due: datetime) -> bool:
        """See the port."""
        return self.update(entry, final_scrub(entry, due, render_time))

    def park(self, entry: OutboxEntry, reason: str) -> None:
        """See the port. An entry that was closed in the meantime is not parked.

        Raises:
            StoreUnavailableError: the entry may still be in its shard.
        """
        parked = replace(entry, partition=table.PARKED_PARTITION, parked_because=reason)
        self.update(entry, parked)

    def unpark(self, entry: OutboxEntry) -> OutboxEntry | None:
        """See the port. The shard depends on the entry only, so unparking twice is harmless.

        Raises:
            StoreUnavailableError: the entry may still be parked.
        """
        shard = PARTITIONS[crc32(entry.sort_key.encode()) % len(PARTITIONS)]
        back = replace(entry, partition=shard, parked_because=None, attempts=0, touched_at=None)
        return back if self.update(entry, back) else None

    def pages(self) -> Iterator[OutboxPage]:
        """See the port. At least one query per shard."""
        for partition in (*PARTITIONS, table.PARKED_PARTITION):
            for items in self._reads.partition("the outbox", partition):
                yield OutboxPage(*_parse_entries(items))

    def oldest(self, size: int, *, parked: bool = False) -> Iterator[OutboxPage]:
        """See the port."""
        for partition in (table.PARKED_PARTITION,) if parked else PARTITIONS:
            items = next(self._reads.partition("the outbox", partition, Limit=size))
            yield OutboxPage(*_parse_entries(items))

    def may_scrub(self, user_id: str) -> bool:
        """See the port. One BatchGetItem."""
        key = Key(table.USER_PREFIX + user_id, table.USER)
        user = self._reads.get([key]).get(key)
        return user is None or user.get("erased") == {"BOOL": True}

    def scrub(self, user_id: str, after: str | None = None) -> ScrubPage:
        """See the port."""
        return self._scrubber.scrub(user_id, after)

    def release(self, user_id: str, address: str) -> None:
        """See the port. One conditional DeleteItem."""
        self._deletes.delete_if_owned(Key(table.EMAIL_PREFIX + address, table.EMAIL), user_id)

    def status(self, now: datetime | None = None, most: int | None = None) -> OutboxStatus:
        """See the port. At least one query per shard: for an operator, not for a loop."""
        now = now or datetime.now(UTC)
        due: list[datetime] = []
        unreadable = scheduled = 0
        complete = True
        wanted = {
            "ProjectionExpression": "pk, sk, #final",
            "ExpressionAttributeNames": {"#final": "final"},  # a reserved word
        }
        for shard in PARTITIONS:
            items = list(self._some(shard, most, **wanted))
            complete &= len(items) != most
            for item in items:
                try:
                    time = records.entry_time(item)
                except MalformedItemError:
                    unreadable += 1
                    continue
                if "final" in item and time > now:
                    scheduled += 1
                else:
                    due.append(time)
        parked, odd = _parse_entries(self._some(table.PARKED_PARTITION, most))
        return OutboxStatus(
            pending=len(due),
            oldest=min(due, default=None),
            parked=parked,
            unreadable=unreadable + len(odd),
            scheduled=scheduled,
            complete=complete and len(parked) + len(odd) != most,
        )

    def _some(self, partition: str, most: int | None, **parameters: Any) -> Iterator[Item]:
        """Yield the first `most` items of a partition, or all."""
        limit: dict[str, Any] = {} if most is None else {"Limit": most}
        pages = self._reads.partition("the outbox", partition, **limit, **parameters)
        return islice(chain.from_iterable(pages), most)


def _parse_entries(
    items: Iterable[Item],
) -> tuple[tuple[OutboxEntry, ...], tuple[OutboxPosition, ...]]:
    """Parse entries one by one; return the valid ones and the positions of the others."""
    entries: list[OutboxEntry] = []
    unreadable: list[OutboxPosition] = []
    for item in items:
        try:
            entries.append(records.parse_entry(item))
        except MalformedItemError:
            unreadable.append(_position(item))
    return tuple(entries), tuple(unreadable)


def _as_read(entry: OutboxEntry) -> dict[str, Any]:
    """Return the condition that an entry exists and has not changed since it was read."""
    if entry.touched_at is None:
        condition = "attribute_exists(pk) AND attribute_not_exists(touched_at)"
        return {"ConditionExpression": condition}
    return {
        "ConditionExpression": "touched_at = :touched",
        "ExpressionAttributeValues": {":touched": {"S": render_timestamp(entry.touched_at)}},
    }


def _position(item: Item) -> OutboxPosition:
    return OutboxPosition(*key_of(item))
