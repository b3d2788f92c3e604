"""Read consistently in as few calls as possible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from adapters.dynamodb import table
from adapters.dynamodb.calls import Retries, calling
from adapters.dynamodb.projection import completed, projection
from application.ports import ThrottledError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from adapters.dynamodb.table import Item

BATCH_GET_LIMIT: Final = 100
"""Keys per BatchGetItem call."""


class Key(NamedTuple):
    """A primary key."""

    partition: str
    sort: str


class TableReads:
    """Reads of one table."""

    def __init__(
        self,
        client: DynamoDBClient,
        table_name: str,
        retries: Retries,
        attributes: Sequence[str] | None = None,
    ) -> None:
        """Use `table_name`; `retries` is for keys that DynamoDB leaves unprocessed.

        With `attributes`, every read of the table requests only these (see `projection`).
        """
        self._client = client
        self._table = table_name
        self._retries = retries
        self._projection = {} if attributes is None else projection(attributes)
        self._completed = (lambda item: item) if attributes is None else completed

    def get(self, keys: Iterable[Key]) -> dict[Key, Item]:
        """Return items by key, read consistently, each once; an item that does not exist is absent.

        Keys that DynamoDB leaves unprocessed are requested again, with a growing pause.

        Raises:
            ThrottledError: some keys remain unprocessed.
            StoreUnavailableError: a call failed.
        """
        found, unread = self.get_available(keys)
        for tried in range(1, self._retries.tries):
            if not unread:
                break
            self._retries.pause(tried)
            more, unread = self.get_available(unread)
            found |= more
        if unread:
            raise ThrottledError("DynamoDB BatchGetItem: keys remain unprocessed")
        return found

    def get_available(self, keys: Iterable[Key]) -> tuple[dict[Key, Item], set[Key]]:
        """Read what DynamoDB returns at once, consistently: 100 keys per call, without retries.

        Returns the items found, and the keys that DynamoDB left unprocessed.

        Raises:
            ThrottledError: DynamoDB throttles a whole call.
            StoreUnavailableError: a call failed.
        """
        found: dict[Key, Item] = {}
        unread: set[Key] = set()
        distinct = list(dict.fromkeys(keys))
        for start in range(0, len(distinct), BATCH_GET_LIMIT):
            unread |= self._get_batch(distinct[start : start + BATCH_GET_LIMIT], found)
        return found, unread

    def _get_batch(self, keys: Sequence[Key], found: dict[Key, Item]) -> set[Key]:
        wanted: Any = [{"pk": {"S": key.partition}, "sk": {"S": key.sort}} for key in keys]
        one_table = {"Keys": wanted, "ConsistentRead": True, **self._projection}
        request: Any = {self._table: one_table}
        with calling("BatchGetItem"):
            response = self._client.batch_get_item(RequestItems=request)
            for item in response["Responses"].get(self._table, ()):
                found[key_of(item)] = self._completed(item)
            left: Any = response.get("UnprocessedKeys", {}).get(self._table) or {}
            return {key_of(key) for key in left.get("Keys", ())}

    def query(self, operation: str, **parameters: Any) -> Iterator[list[Item]]:
        """Yield the pages of a Query; `operation` describes its purpose in errors.

        Raises:
            StoreUnavailableError: a page could not be read.
        """
        while True:
            items, last = self.page(operation, **parameters)
            yield items
            if not last:
                return
            parameters["ExclusiveStartKey"] = last

    def page(self, operation: str, **parameters: Any) -> tuple[list[Item], Item | None]:
        """Return one page of a Query, and the key to start the next page after, if there is one.

        Raises:
            StoreUnavailableError: the page could not be read.
        """
        if "ProjectionExpression" not in parameters:
            parameters |= self._projection
        with calling(f"Query of {operation}"):
            page = self._client.query(TableName=self._table, **parameters)
            return [*map(self._completed, page["Items"])], page.get("LastEvaluatedKey")

    def partition(
        self, operation: str, partition: str, sort_prefix: str | None = None, **parameters: Any
    ) -> Iterator[list[Item]]:
        """Yield the items of a partition page by page, read consistently, by sort key."""
        condition = "pk = :pk"
        values = {":pk": {"S": partition}}
        if sort_prefix is not None:
            condition += " AND begins_with(sk, :sk)"
            values[":sk"] = {"S": sort_prefix}
        return self.query(
            operation,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            ConsistentRead=True,
            **parameters,
        )


def key_of(item: Item) -> Key:
    """Return an item's primary key."""
    return Key(item[table.PARTITION_KEY].get("S", ""), item[table.SORT_KEY].get("S", ""))
