"""Taking a person's data out of what is stored about an erased user's past."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from adapters.aws import error_code
from adapters.dynamodb import records, table
from adapters.dynamodb.calls import require_answer, unavailable
from adapters.dynamodb.errors import MalformedItemError
from adapters.dynamodb.reads import Key, TableReads, key_of
from adapters.dynamodb.writes import TableDeletes

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from adapters.dynamodb.table import Item

PAGE_SIZE: Final = 100
"""Items a page: a crash repeats the work of one page at most."""


class Scrubber:
    """Scrubs one user at a time, page by page; what it has done it does not do again."""

    def __init__(
        self,
        client: DynamoDBClient,
        table_name: str,
        reads: TableReads,
        deletes: TableDeletes,
        page_size: int = PAGE_SIZE,
    ) -> None:
        """Work in `table_name`, `page_size` items at a time."""
        self._client = client
        self._table = table_name
        self._reads = reads
        self._deletes = deletes
        self._page_size = page_size

    def scrub(self, user_id: str) -> int:
        """Delete sessions and second factor; empty personal fields and fingerprints of outcomes.

        A fingerprint is of personal data, and some could be guessed from it. Gives how many
        outcomes could not be read, and are as they were.
        """
        unreadable = 0
        partition = table.USER_PREFIX + user_id
        for page in self._reads.partition("a user's items", partition, Limit=self._page_size):
            doomed = [key_of(item) for item in page if _is_login_state(key_of(item))]
            if doomed:
                self._deletes.delete(doomed)
            for item in page:
                if key_of(item).sort.startswith(table.COMMAND_PREFIX):
                    unreadable += not self._scrub_outcome(item)
        return unreadable

    def _scrub_outcome(self, item: Item) -> bool:
        try:
            outcome = records.parse_outcome(item)
        except MalformedItemError:
            return False
        if not outcome.fingerprint:
            return True  # done before, or decided after the erasure: then nothing personal is in it
        if outcome.by_email:  # first: the user's own record says whether both are done
            reference = table.COMMAND_PREFIX + outcome.command_id
            self._update(Key(reference, reference), "SET fingerprint = :empty", {})
        events = records.render_events(e.without_personal_data() for e in outcome.events)
        self._update(
            key_of(item), "SET fingerprint = :empty, events = :events", {":events": {"S": events}}
        )
        return True

    def _update(self, key: Key, expression: str, values: Item) -> None:
        try:
            answer = self._client.update_item(
                TableName=self._table,
                Key=table.key(*key),
                UpdateExpression=expression,
                ConditionExpression="attribute_exists(pk)",
                ExpressionAttributeValues={":empty": {"S": ""}, **values},
            )
            require_answer(answer)
        except ClientError as error:
            if error_code(error) != "ConditionalCheckFailedException":  # else: past its time
                raise unavailable("UpdateItem", error) from error
        except Exception as error:
            raise unavailable("UpdateItem", error) from error


def _is_login_state(key: Key) -> bool:
    return key.sort == table.TWO_FACTOR or key.sort.startswith(table.SESSION_PREFIX)
