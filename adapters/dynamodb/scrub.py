"""Taking a person's data out of what is stored about an erased user's past."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from adapters.aws import error_code
from adapters.dynamodb import records, table
from adapters.dynamodb.calls import require_answer, unavailable
from adapters.dynamodb.errors import MalformedItemError
from adapters.dynamodb.formats import SCHEMA
from adapters.dynamodb.reads import Key, TableReads, key_of
from adapters.dynamodb.writes import TableDeletes
from domain.ports import StoreUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from adapters.dynamodb.table import Item

PAGE_SIZE: Final = 100
"""Items a page: a crash repeats the work of one page at most."""
TRIES: Final = 3
"""Of one outcome: a format changes by a migration, once."""


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

    def scrub(self, user_id: str, on_page: Callable[[], object]) -> int:
        """Delete sessions and second factor; empty personal fields and fingerprints of outcomes.

        A fingerprint is of personal data, and some could be guessed from it. Gives how many
        outcomes could not be read, and are as they were; calls `on_page` after each page.
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
            on_page()
        return unreadable

    def _scrub_outcome(self, item: Item) -> bool:
        """Scrub a user's outcome, and what is stored of it under its command alone.

        That first: the user's own record says whether both are done. Says whether both were read.
        """
        try:
            outcome = records.parse_outcome(item)
        except MalformedItemError:
            return False
        if not outcome.fingerprint:
            return True  # done before, or decided after the erasure: then nothing personal is in it
        if outcome.by_email:
            sort = table.COMMAND_PREFIX + outcome.command_id
            for reference in self._reads.get([Key(sort, sort)]).values():
                if not self._scrub_item(reference):
                    return False
        return self._scrub_item(item)

    def _scrub_item(self, item: Item) -> bool:
        key = key_of(item)
        for _ in range(TRIES):
            try:
                new = records.scrubbed(item)
            except MalformedItemError:
                return False
            if new is None or self._replace(item, new):
                return True
            found = self._reads.get([key]).get(key)
            if found is None:  # past its time
                return True
            item = found
        raise StoreUnavailableError("an outcome changes its format all the time")

    def _replace(self, old: Item, new: Item) -> bool:
        """Change what is not the same, unless a migration has changed the format meanwhile."""
        changed = {name: value for name, value in new.items() if old.get(name) != value}
        pairs = ", ".join(f"#s{n} = :s{n}" for n in range(len(changed)))
        dropped = dict(enumerate(old.keys() - new.keys()))
        remove = " REMOVE " + ", ".join(f"#r{n}" for n in dropped) if dropped else ""
        try:
            answer = self._client.update_item(
                TableName=self._table,
                Key=table.key(*key_of(old)),
                UpdateExpression=f"SET {pairs}{remove}",
                ConditionExpression="#schema = :schema",
                ExpressionAttributeNames={
                    "#schema": SCHEMA,
                    **{f"#s{n}": name for n, name in enumerate(changed)},
                    **{f"#r{n}": name for n, name in dropped.items()},
                },
                ExpressionAttributeValues={
                    **{f":s{n}": value for n, value in enumerate(changed.values())},
                    ":schema": old[SCHEMA],
                },
            )
            require_answer(answer)
        except ClientError as error:
            if error_code(error) == "ConditionalCheckFailedException":
                return False
            raise unavailable("UpdateItem", error) from error
        except Exception as error:
            raise unavailable("UpdateItem", error) from error
        return True


def _is_login_state(key: Key) -> bool:
    return key.sort == table.TWO_FACTOR or key.sort.startswith(table.SESSION_PREFIX)
