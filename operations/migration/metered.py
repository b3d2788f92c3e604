"""DynamoDB calls of a migration, with limits on their capacity units."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from adapters.aws.client import error_code
from adapters.dynamodb import table
from adapters.dynamodb.calls import Retries, calling, require_answer
from adapters.dynamodb.cancellation import CONDITION_FAILED, reason_codes
from adapters.dynamodb.capacity import READ_UNIT, item_size, transaction_units, write_units
from adapters.dynamodb.reads import BATCH_GET_LIMIT, Key, key_of
from adapters.errors import MalformedItemError
from application.ports import StoreUnavailableError
from operations.migration.throughput import Bucket

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from adapters.dynamodb.table import Item

PATIENCE: Final = Retries(base=0.1, cap=5.0, tries=40)
"""Retries for a throttling table: on average more than a minute, longer than a burst of workers."""
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
"""Error codes after which the same call may succeed."""
PUT_CONDITION_FAILED: Final = "ConditionalCheckFailedException"
CANCELLED: Final = "TransactionCanceledException"
USUAL_OUTCOME: Final = 1024
"""Assumed bytes of an outcome excluded by the filter, if DynamoDB reports no consumed capacity."""


@dataclass(frozen=True, slots=True)
class ScannedPage:
    """One page of a segment."""

    items: list[Item]
    left_out: int
    """Number of items that the filter excluded."""
    after: Item | None
    """Key to continue after; `None` at the end."""


class MeteredTable:
    """One table, called within the rates of two buckets."""

    def __init__(
        self,
        client: DynamoDBClient,
        name: str,
        reads: Bucket,
        writes: Bucket,
        retries: Retries = PATIENCE,
    ) -> None:
        """Call the table `name`; `retries` applies while it is busy."""
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
        """Read a page of a segment, without the items that a filter excludes.

        The read is eventually consistent, at half the price: every write is conditional on the item
        being unchanged.

        Raises:
            StoreUnavailableError: the page could not be read.
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
            self._reads.spend(_units(answer, size / READ_UNIT / 2))  # eventually consistent
            return ScannedPage(items, left_out, answer.get("LastEvaluatedKey"))

    def get(self, keys: Iterable[Key], *, consistent: bool = True) -> dict[Key, Item]:
        """Read items; missing ones are absent. An eventually consistent read costs half.

        Raises:
            StoreUnavailableError: some items could not be read.
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
                raise StoreUnavailableError("DynamoDB BatchGetItem: keys remain unprocessed")
        return found

    def _get_some(
        self, keys: Sequence[Item], found: dict[Key, Item], *, consistent: bool
    ) -> list[Item]:
        """Read some keys into `found`; return the keys that were not processed."""
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
        """Replace an item if it is unchanged since it was read; return False if it has changed.

        It uses a single Put, not a transaction of several: it costs half, and in a conflict with a
        worker's transaction it is the Put that fails.

        Raises:
            MalformedItemError: the table rejects the new item.
            StoreUnavailableError: the item may not have been replaced.
        """
        units = write_units(max(item_size(old), item_size(new)))
        request = {"TableName": self._name, "Item": new, **unchanged(old)}
        with calling("PutItem"):
            try:
                answer = self._send(self._client.put_item, self._writes, **request)
            except ClientError as error:
                self._writes.spend(units)
                if error_code(error) == PUT_CONDITION_FAILED:
                    return False
                if error_code(error) != "ValidationException":
                    raise
            else:
                require_answer(answer)
                self._writes.spend(_units(answer, units))
                return True
        raise MalformedItemError(
            kind, "schema", "cannot be migrated: DynamoDB rejects the new item"
        )

    def transact(self, *actions: Mapping[str, Any]) -> bool:
        """Do all of some actions or none; return False if a condition failed.

        Takes actions of TransactWriteItems without the table's name.

        Raises:
            StoreUnavailableError: the actions may not have been done.
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
                    if CONDITION_FAILED in (reason_codes(dict(error.response), len(named)) or ()):
                        return False
                    self._retries.pause(tried)  # conflict with another transaction
                else:
                    require_answer(answer)
                    self._writes.spend(_units(answer, units))
                    return True
        raise StoreUnavailableError(
            "DynamoDB TransactWriteItems: other transactions keep changing the items"
        )

    def _send(self, call: Callable[..., Any], bucket: Bucket, **request: Any) -> Any:
        """Make a call when its bucket allows, and retry it while the table is busy."""
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
    """Return the condition that every attribute of an item is as it was read.

    Every write of a worker changes at least one attribute: the version, a revision, or the events
    of a scrubbed outcome. The condition works for items of every kind and every older format.
    """
    names = {f"#a{number}": name for number, name in enumerate(item)}
    return {
        "ConditionExpression": " AND ".join(f"{name} = :{name[1:]}" for name in names),
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": {f":{name[1:]}": item[names[name]] for name in names},
    }


def _units(answer: Mapping[str, Any], estimate: float) -> float:
    """Return the units that a call used: from the response, or else as estimated."""
    consumed: Any = answer.get("ConsumedCapacity")
    rows = consumed if isinstance(consumed, list) else [consumed]
    reported = sum(row.get("CapacityUnits", 0.0) for row in rows if row)
    return reported or estimate
