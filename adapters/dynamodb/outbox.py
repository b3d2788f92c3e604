"""The outbox in DynamoDB: pointers to outcomes whose events may still have to be published."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from random import randrange
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from adapters.aws import error_code
from adapters.dynamodb import records, table
from adapters.dynamodb.calls import Backoff, require_answer, unavailable
from adapters.dynamodb.reads import Key, TableReads
from adapters.dynamodb.repository import DEFAULT_BACKOFF, outcome_read_key
from adapters.dynamodb.scrub import PAGE_SIZE, Scrubber
from adapters.dynamodb.verdict import CONDITION_FAILED, reason_codes
from adapters.dynamodb.writes import TableDeletes
from domain.ports import CommandKey, Outbox, OutboxStatus, Outcome, Pointer
from domain.values import render_time

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from adapters.dynamodb.table import Item

SHARDS: Final = tuple(table.outbox_partition(shard) for shard in range(table.OUTBOX_SHARDS))


def random_shard() -> int:
    """Choose the shard to look at, so that several relays seldom meet."""
    return randrange(table.OUTBOX_SHARDS)  # noqa: S311 - no secret


class DynamoDBOutbox(Outbox):
    """The outbox that commits leave their pointers in, in the users' table."""

    def __init__(
        self,
        client: DynamoDBClient,
        table_name: str,
        backoff: Backoff = DEFAULT_BACKOFF,
        *,
        page_size: int = PAGE_SIZE,
        choose_shard: Callable[[], int] = random_shard,
    ) -> None:
        """Work in `table_name`; `page_size` items at a time are scrubbed."""
        self._client = client
        self._table = table_name
        self._reads = TableReads(client, table_name, backoff)
        self._deletes = TableDeletes(client, table_name, backoff)
        self._scrubber = Scrubber(client, table_name, self._reads, self._deletes, page_size)
        self._choose_shard = choose_shard

    def pending(self, before: datetime, limit: int = 10) -> list[Pointer]:
        """See the port."""
        pages = self._reads.query(
            "the outbox",
            KeyConditionExpression="pk = :pk AND sk < :before",
            ExpressionAttributeValues={
                ":pk": {"S": SHARDS[self._choose_shard()]},
                ":before": {"S": render_time(before)},
            },
            ConsistentRead=True,
            Limit=limit,
        )
        return [records.parse_pointer(item) for item in next(pages)]

    def outcomes(self, pointers: Sequence[Pointer]) -> dict[CommandKey, Outcome]:
        """See the port. One BatchGetItem for every 100 commands."""
        keys = [outcome_read_key(command) for p in pointers for command in p.commands]
        items = self._reads.get(keys).values()
        return {records.outcome_key_of(item): records.parse_outcome(item) for item in items}

    def close(self, pointers: Sequence[Pointer]) -> None:
        """See the port. One call for one pointer, and for every 25."""
        self._deletes.delete([Key(pointer.partition, pointer.sort_key) for pointer in pointers])

    def park(self, pointer: Pointer, reason: str) -> None:
        """See the port. One that somebody closed meanwhile is not parked.

        Raises:
            StoreUnavailableError: it may still be where it was.
        """
        parked = replace(pointer, partition=table.PARKED_PARTITION, parked_because=reason)
        delete = {
            "TableName": self._table,
            "Key": table.key(pointer.partition, pointer.sort_key),
            "ConditionExpression": "attribute_exists(pk)",
        }
        put = {"TableName": self._table, "Item": records.render_pointer(parked)}
        try:
            answer = self._client.transact_write_items(
                TransactItems=[{"Delete": delete}, {"Put": put}]  # type: ignore[typeddict-item]
            )
            require_answer(answer)
        except ClientError as error:
            codes = reason_codes(dict(error.response), 2) or [error_code(error)]
            if codes[0] != CONDITION_FAILED:
                raise unavailable("TransactWriteItems", error) from error
        except Exception as error:
            raise unavailable("TransactWriteItems", error) from error

    def scrub(self, user_id: str) -> None:
        """See the port.

        Raises:
            StoreUnavailableError: some may be left; scrubbing again goes on.
        """
        self._scrubber.scrub(user_id)

    def status(self) -> OutboxStatus:
        """See the port. One query or more a shard: for a person, not for a loop."""
        pending, oldest = 0, None
        for shard in SHARDS:
            for item in self._items(shard, ProjectionExpression="pk, sk"):
                pending += 1
                time = records.pointer_time(item)
                oldest = time if oldest is None else min(oldest, time)
        parked = tuple(records.parse_pointer(item) for item in self._items(table.PARKED_PARTITION))
        return OutboxStatus(pending, oldest, parked)

    def _items(self, partition: str, **parameters: str) -> Iterator[Item]:
        for page in self._reads.partition("the outbox", partition, **parameters):
            yield from page
