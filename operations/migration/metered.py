"""The calls of a migration: each waits for its turn, and counts what it has used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from adapters.aws.client import error_code
from adapters.dynamodb import table
from adapters.dynamodb.calls import Retries, calling, require_answer
from adapters.dynamodb.capacity import item_size, transaction_units, write_units
from adapters.dynamodb.errors import MalformedItemError
from adapters.dynamodb.reads import BATCH_GET_LIMIT, Key, key_of
from application.ports import StoreUnavailableError
from operations.migration.throughput import Bucket

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from adapters.dynamodb.table import Item

PATIENCE: Final = Retries(base=0.1, cap=5.0, tries=40)
"""For a table that throttles: more than a minute on average, longer than a burst of its workers."""
BUSY: Final = frozenset(
    {
        "InternalServerError",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
"""Answers after which the same call may do."""
CONDITION_FAILED: Final = "ConditionalCheckFailedException"
CANCELLED: Final = "TransactionCanceledException"
READ_UNIT: Final = 4096
"""Bytes that one read unit takes; half a unit where the read need not be consistent."""
USUAL_OUTCOME: Final = 1024
"""Bytes of one that was not sent, where DynamoDB does not tell what a call has used."""


@dataclass(frozen=True, slots=True)
class ScannedPage:
    """A part of a segment."""

    items: list[Item]
    left_out: int
    """Items that a filter kept from being sent."""
    after: Item | None
    """Where to go on; `None` at the end."""


class MeteredTable:
    """One table, called no faster than two buckets allow."""

    def __init__(
        self,
        client: DynamoDBClient,
        name: str,
        reads: Bucket,
        writes: Bucket,
        retries: Retries = PATIENCE,
    ) -> None:
        """Call the table `name`; `retries` is for when it is busy."""
        self._client: Any = client
        self._name = name
        self._reads = reads
        self._writes = writes
        self._retries = retries

    # --- reads -----------------------------------------------------------------------------

    def scan(
        self,
        segment: int,
        segments: int,
        limit: int,
        after: Item | None,
        without: Mapping[str, Any],
    ) -> ScannedPage:
        """Read a page of a segment, without what a filter of DynamoDB's leaves out.

        Not consistently, for half the price: what is written depends on what was read being so.

        Raises:
            StoreUnavailableError: it could not be read.
        """
        request: dict[str, Any] = {"Segment": segment, "TotalSegments": segments, "Limit": limit}
        if after is not None:
            request["ExclusiveStartKey"] = after
        with calling("Scan"):
            answer = self._send(
                self._client.scan, self._reads, TableName=self._name, **request, **without
            )
            items: list[Item] = answer["Items"]
            left_out: int = answer["ScannedCount"] - len(items)
            size = sum(map(item_size, items)) + left_out * USUAL_OUTCOME
            self._reads.spend(_units(answer, size / READ_UNIT / 2))
            return ScannedPage(items, left_out, answer.get("LastEvaluatedKey"))

    def get(self, keys: Iterable[Key], *, consistent: bool = True) -> dict[Key, Item]:
        """Read items; what does not exist is absent. Not consistently is half the price.

        Raises:
            StoreUnavailableError: not all could be read.
        """
        found: dict[Key, Item] = {}
        distinct = list(dict.fromkeys(keys))
        for start in range(0, len(distinct), BATCH_GET_LIMIT):
            left = [table.key(*key) for key in distinct[start : start + BATCH_GET_LIMIT]]
            for tried in range(1, self._retries.tries + 1):
                left = self._get_some(left, found, consistent=consistent)
                if not left:
                    break
                self._retries.pause(tried)
            else:
                raise StoreUnavailableError("DynamoDB BatchGetItem: keys stay unprocessed")
        return found

    def _get_some(
        self, keys: Sequence[Item], found: dict[Key, Item], *, consistent: bool
    ) -> list[Item]:
        """Read what the table gives of some keys; give the others."""
        wanted = {self._name: {"Keys": keys, "ConsistentRead": consistent}}
        with calling("BatchGetItem"):
            answer = self._send(self._client.batch_get_item, self._reads, RequestItems=wanted)
            self._reads.spend(_units(answer, len(keys) / (1 if consistent else 2)))
            items = answer["Responses"].get(self._name, ())
            found.update({key_of(item): item for item in items})
            left: list[Item] = answer.get("UnprocessedKeys", {}).get(self._name, {}).get("Keys", [])
            return left

    # --- writes ----------------------------------------------------------------------------

    def replace(self, kind: str, old: Item, new: Item) -> bool:
        """Put an item in the place of one that is still as it was read; say whether it was.

        A Put of its own, and not a transaction of many: it costs half, and where it meets a
        worker's transaction it is the Put that is refused.

        Raises:
            MalformedItemError: the table does not take it.
            StoreUnavailableError: it may not have been done.
        """
        units = write_units(max(item_size(old), item_size(new)))
        request = {"TableName": self._name, "Item": new, **unchanged(old)}
        with calling("PutItem"):
            try:
                answer = self._send(self._client.put_item, self._writes, **request)
            except ClientError as error:
                self._writes.spend(units)
                if error_code(error) == CONDITION_FAILED:
                    return False
                if error_code(error) != "ValidationException":
                    raise
            else:
                require_answer(answer)
                self._writes.spend(_units(answer, units))
                return True
        raise MalformedItemError(kind, "schema", "cannot be raised: the table refuses the new item")

    def transact(self, *actions: Mapping[str, Any]) -> bool:
        """Do all of some actions or none; say which, by their conditions.

        Takes actions of TransactWriteItems without the table's name.

        Raises:
            StoreUnavailableError: they may not have been done.
        """
        named = [
            {name: {"TableName": self._name, **body} for name, body in action.items()}
            for action in actions
        ]
        sizes = [item_size(b.get("Item") or b["Key"]) for a in actions for b in a.values()]
        units = transaction_units(sizes)
        with calling("TransactWriteItems"):
            for tried in range(1, self._retries.tries + 1):
                try:
                    answer = self._send(
                        self._client.transact_write_items, self._writes, TransactItems=named
                    )
                except ClientError as error:
                    self._writes.spend(units)
                    if error_code(error) != CANCELLED:
                        raise
                    if "ConditionalCheckFailed" in _reasons(error):
                        return False
                    self._retries.pause(tried)  # another's transaction is at one of the items
                else:
                    require_answer(answer)
                    self._writes.spend(_units(answer, units))
                    return True
        raise StoreUnavailableError("DynamoDB TransactWriteItems: others stay at the items")

    def _send(self, call: Callable[..., Any], bucket: Bucket, **request: Any) -> Any:
        """Make a call when it is its turn, and again while the table is busy."""
        tried = 0
        while True:
            bucket.wait()
            tried += 1
            try:
                return call(**request, ReturnConsumedCapacity="TOTAL")
            except ClientError as error:
                if error_code(error) not in BUSY or tried == self._retries.tries:
                    raise
                self._retries.pause(tried)


def unchanged(item: Item) -> dict[str, Any]:
    """Give the condition that an item is, in every attribute, what was read.

    Whatever a worker does changes at least one: the version, a revision, a scrubbed outcome's
    events. It holds for items of every kind and of every older format.
    """
    names = {f"#a{number}": name for number, name in enumerate(item)}
    return {
        "ConditionExpression": " AND ".join(f"{name} = :{name[1:]}" for name in names),
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": {f":{name[1:]}": item[names[name]] for name in names},
    }


def _reasons(error: ClientError) -> set[str]:
    rows: Any = error.response.get("CancellationReasons", [])
    return {str(row.get("Code")) for row in rows}


def _units(answer: Mapping[str, Any], estimate: float) -> float:
    """Give the units that a call used: as the answer says, or as estimated if it does not."""
    consumed: Any = answer.get("ConsumedCapacity")
    rows = consumed if isinstance(consumed, list) else [consumed]
    told = sum(row.get("CapacityUnits", 0.0) for row in rows if row)
    return told or estimate
