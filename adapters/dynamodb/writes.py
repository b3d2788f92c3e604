"""Delete items, one at a time or in batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from adapters.aws.client import error_code
from adapters.dynamodb import table
from adapters.dynamodb.calls import Retries, calling, require_answer, unavailable
from adapters.dynamodb.change import SAME_OWNER
from adapters.dynamodb.reads import Key
from application.ports import StoreUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

BATCH_WRITE_LIMIT: Final = 25
"""Requests per BatchWriteItem call."""


class TableDeletes:
    """Unconditional deletes in one table; deleting an item that does not exist has no effect."""

    def __init__(self, client: DynamoDBClient, table_name: str, retries: Retries) -> None:
        """Use `table_name`; `retries` is for deletes that DynamoDB leaves unprocessed."""
        self._client = client
        self._table = table_name
        self._retries = retries

    def delete(self, keys: Sequence[Key]) -> None:
        """Delete items in as few calls as possible; the other calls go on if one fails.

        Raises:
            StoreUnavailableError: some items may still exist.
        """
        if len(keys) == 1:
            with calling("DeleteItem"):
                answer = self._client.delete_item(TableName=self._table, Key=table.key(*keys[0]))
                require_answer(answer)
            return
        distinct = list(dict.fromkeys(keys))
        failed: StoreUnavailableError | None = None
        for start in range(0, len(distinct), BATCH_WRITE_LIMIT):
            try:
                self._delete_batch(distinct[start : start + BATCH_WRITE_LIMIT])
            except StoreUnavailableError as error:
                failed = error
        if failed is not None:
            raise failed

    def delete_if_owned(self, key: Key, user_id: str) -> None:
        """Delete an address item that names this user; no effect otherwise.

        Raises:
            StoreUnavailableError: the item may still exist.
        """
        try:
            answer = self._client.delete_item(
                TableName=self._table,
                Key=table.key(*key),
                ConditionExpression=SAME_OWNER,
                ExpressionAttributeValues={":u": {"S": user_id}},
            )
            require_answer(answer)
        except ClientError as error:
            if error_code(error) != "ConditionalCheckFailedException":
                raise unavailable("DeleteItem", error) from error
        except Exception as error:
            raise unavailable("DeleteItem", error) from error

    def _delete_batch(self, keys: Sequence[Key]) -> None:
        requests: Any = [{"DeleteRequest": {"Key": table.key(*key)}} for key in keys]
        for tried in range(1, self._retries.tries + 1):
            with calling("BatchWriteItem"):
                response = self._client.batch_write_item(RequestItems={self._table: requests})
                require_answer(response)
                left = response.get("UnprocessedItems", {}).get(self._table)
            if not left:
                return
            requests = left
            if tried < self._retries.tries:
                self._retries.pause(tried)
        raise StoreUnavailableError("DynamoDB BatchWriteItem: items remain unprocessed")
