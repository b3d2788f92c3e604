"""The outbox in DynamoDB: pointers to outcomes whose events may still have to be published."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import cycle
from random import sample
from typing import TYPE_CHECKING, Final
from zlib import crc32

from botocore.exceptions import ClientError

from adapters.aws import error_code
from adapters.dynamodb import records, table
from adapters.dynamodb.calls import Backoff, require_answer, unavailable
from adapters.dynamodb.errors import MalformedItemError
from adapters.dynamodb.reads import Key, TableReads, key_of
from adapters.dynamodb.repository import DEFAULT_BACKOFF, outcome_read_key
from adapters.dynamodb.scrub import PAGE_SIZE, Scrubber
from adapters.dynamodb.verdict import CONDITION_FAILED, reason_codes
from adapters.dynamodb.writes import TableDeletes
from domain.outbox import Outbox, OutboxPage, OutboxPosition, OutboxStatus, PointedOutcomes
from domain.ports import (
    CommandKey,
    Outcome,
    Pointer,
)
from domain.values import render_time

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from adapters.dynamodb.table import Item

SHARDS: Final = tuple(table.outbox_partition(shard) for shard in range(table.OUTBOX_SHARDS))


def shuffled_shards() -> Callable[[], int]:
    """Give the shards to look at, one a call, over and over.

    In an order of each relay's own, so that several seldom meet; and every shard in its turn, since
    by chance alone there would be no bound to how long one waits.
    """
    return cycle(sample(range(table.OUTBOX_SHARDS), table.OUTBOX_SHARDS)).__next__


class DynamoDBOutbox(Outbox):
    """The outbox that commits leave their pointers in, in the users' table."""

    def __init__(
        self,
        client: DynamoDBClient,
        table_name: str,
        backoff: Backoff = DEFAULT_BACKOFF,
        *,
        page_size: int = PAGE_SIZE,
        choose_shard: Callable[[], int] | None = None,
    ) -> None:
        """Work in `table_name`; `page_size` items at a time are scrubbed."""
        self._client = client
        self._table = table_name
        self._reads = TableReads(client, table_name, backoff)
        self._deletes = TableDeletes(client, table_name, backoff)
        self._scrubber = Scrubber(client, table_name, self._reads, self._deletes, page_size)
        self._choose_shard = choose_shard or shuffled_shards()

    def pending(
        self, before: datetime, limit: int = 10, after: OutboxPosition | None = None
    ) -> OutboxPage:
        """See the port."""
        partition = after.partition if after else SHARDS[self._choose_shard()]
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
        pointers, unreadable = _parse_pointers(items)
        return OutboxPage(pointers, unreadable, _position(last) if last else None)

    def outcomes(self, pointers: Sequence[Pointer]) -> PointedOutcomes:
        """See the port. One BatchGetItem for every 100 commands."""
        keys = [outcome_read_key(command) for p in pointers for command in p.commands]
        found: dict[CommandKey, Outcome] = {}
        unreadable: set[CommandKey] = set()
        for item in self._reads.get(keys).values():
            try:
                found[records.outcome_key_of(item)] = records.parse_outcome(item)
            except MalformedItemError:
                unreadable.add(records.outcome_key_of(item))
        return PointedOutcomes(found, unreadable)

    def close(self, pointers: Sequence[Pointer]) -> None:
        """See the port. One call for one pointer, and for every 25."""
        self._deletes.delete([Key(pointer.partition, pointer.sort_key) for pointer in pointers])

    def park(self, pointer: Pointer, reason: str) -> None:
        """See the port. One that somebody closed meanwhile is not parked.

        Raises:
            StoreUnavailableError: it may still be where it was.
        """
        self._move(
            pointer, replace(pointer, partition=table.PARKED_PARTITION, parked_because=reason)
        )

    def unpark(self, pointer: Pointer) -> Pointer | None:
        """See the port. The shard is the same whoever unparks it, and however often.

        Raises:
            StoreUnavailableError: it may still be where it was.
        """
        shard = SHARDS[crc32(pointer.sort_key.encode()) % len(SHARDS)]
        back = replace(pointer, partition=shard, parked_because=None)
        return back if self._move(pointer, back) else None

    def _move(self, pointer: Pointer, to: Pointer) -> bool:
        """Move a pointer in one transaction; say whether it was there."""
        delete = {
            "TableName": self._table,
            "Key": table.key(pointer.partition, pointer.sort_key),
            "ConditionExpression": "attribute_exists(pk)",
        }
        put = {"TableName": self._table, "Item": records.render_pointer(to)}
        try:
            answer = self._client.transact_write_items(
                TransactItems=[{"Delete": delete}, {"Put": put}]  # type: ignore[typeddict-item]
            )
            require_answer(answer)
        except ClientError as error:
            codes = reason_codes(dict(error.response), 2) or [error_code(error)]
            if codes[0] != CONDITION_FAILED:
                raise unavailable("TransactWriteItems", error) from error
            return False
        except Exception as error:
            raise unavailable("TransactWriteItems", error) from error
        return True

    def pages(self) -> Iterator[OutboxPage]:
        """See the port. One query or more a shard."""
        for partition in (*SHARDS, table.PARKED_PARTITION):
            for items in self._reads.partition("the outbox", partition):
                yield OutboxPage(*_parse_pointers(items))

    def scrub(self, user_id: str, on_page: Callable[[], object] = lambda: None) -> int:
        """See the port.

        Raises:
            StoreUnavailableError: some may be left; scrubbing again goes on.
        """
        return self._scrubber.scrub(user_id, on_page)

    def status(self) -> OutboxStatus:
        """See the port. One query or more a shard: for a person, not for a loop."""
        pending, unreadable = 0, 0
        oldest: datetime | None = None
        for shard in SHARDS:
            for item in self._items(shard, ProjectionExpression="pk, sk"):
                try:
                    time = records.pointer_time(item)
                except MalformedItemError:
                    unreadable += 1
                else:
                    pending += 1
                    oldest = time if oldest is None else min(oldest, time)
        parked, odd = _parse_pointers(self._items(table.PARKED_PARTITION))
        return OutboxStatus(pending, oldest, parked, unreadable + len(odd))

    def _items(self, partition: str, **parameters: str) -> Iterator[Item]:
        for page in self._reads.partition("the outbox", partition, **parameters):
            yield from page


def _parse_pointers(
    items: Iterable[Item],
) -> tuple[tuple[Pointer, ...], tuple[OutboxPosition, ...]]:
    """Read pointers one by one; give those that can be read, and where the others are."""
    pointers: list[Pointer] = []
    unreadable: list[OutboxPosition] = []
    for item in items:
        try:
            pointers.append(records.parse_pointer(item))
        except MalformedItemError:
            unreadable.append(_position(item))
    return tuple(pointers), tuple(unreadable)


def _position(item: Item) -> OutboxPosition:
    return OutboxPosition(*key_of(item))
