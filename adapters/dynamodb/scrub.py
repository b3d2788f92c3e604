"""Remove personal data from the stored history of an erased user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from adapters.aws.client import error_code
from adapters.dynamodb import records, table
from adapters.dynamodb.calls import require_answer, unavailable
from adapters.dynamodb.formats import SCHEMA
from adapters.dynamodb.reads import Key, TableReads, key_of
from adapters.dynamodb.writes import TableDeletes
from adapters.errors import MalformedItemError
from application.outbox import ScrubPage
from application.ports import StoreUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from adapters.dynamodb.table import Item

PAGE_SIZE: Final = 100
"""Items per page: after a crash, at most one page is scrubbed again."""
PARALLEL: Final = 4
"""Concurrent updates. At 5 to 8 ms each, four make 500 to 800 a second, below the 1,000 write units
a second of one partition, which holds all outcomes of a user."""
TRIES: Final = 3
"""Attempts per outcome: a migration changes an item's format once."""


class Scrubber:
    """Scrub users page by page; an item that was scrubbed before is not written again.

    Each outcome is a conditional UpdateItem, several at a time, of one write unit per KB. A
    transaction of a hundred would take twice the units, and so halve the rate of the partition.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        table_name: str,
        reads: TableReads,
        deletes: TableDeletes,
        *,
        page_size: int = PAGE_SIZE,
        parallel: int = PARALLEL,
    ) -> None:
        self._client = client
        self._table = table_name
        self._reads = reads
        self._deletes = deletes
        self._page_size = page_size
        self._parallel = parallel

    def scrub(self, user_id: str, after: str | None = None) -> ScrubPage:
        """Scrub one page: delete sessions and second factor; remove personal data from outcomes.

        Personal data are some fields of events, and the fingerprint, which is derived from personal
        data.

        Raises:
            StoreUnavailableError: part of the page may be unchanged.
        """
        partition = table.USER_PREFIX + user_id
        start = {"ExclusiveStartKey": table.key(partition, after)} if after else {}
        page, last = self._reads.page(
            "a user's items",
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": partition}},
            ConsistentRead=True,
            Limit=self._page_size,
            **start,
        )
        doomed = [key_of(item) for item in page if _is_login_state(key_of(item))]
        if doomed:
            self._deletes.delete(doomed)
        unreadable = self._scrub_outcomes(
            [item for item in page if key_of(item).sort.startswith(table.COMMAND_PREFIX)]
        )
        return ScrubPage(key_of(last).sort if last else None, unreadable)

    def _scrub_outcomes(self, items: Sequence[Item]) -> int:
        """Scrub a user's outcomes; return how many could not be read."""
        todo: list[Item] = []
        references: dict[Key, Item] = {}
        unreadable = 0
        for item in items:
            try:
                outcome = records.parse_outcome(item)
            except MalformedItemError:
                unreadable += 1
                continue
            if not outcome.fingerprint:
                continue  # scrubbed before, or decided after the erasure: it holds no personal data
            todo.append(item)
            if outcome.by_email:
                sort = table.COMMAND_PREFIX + outcome.command_id
                references[Key(sort, sort)] = item
        found = self._reads.get(references) if references else {}
        with_reference = {key_of(references[key]): reference for key, reference in found.items()}

        def scrub(item: Item) -> bool:
            # the reference first: the user's own record shows whether both are scrubbed
            reference = with_reference.get(key_of(item))
            return (reference is None or self._scrub_item(reference)) and self._scrub_item(item)

        return unreadable + sum(not read for read in self._each(scrub, todo))

    def _each(self, scrub: Callable[[Item], bool], items: Sequence[Item]) -> list[bool]:
        """Scrub items, several at a time; after a failure, start no more and raise it."""
        if self._parallel == 1 or len(items) == 1:
            return [scrub(item) for item in items]
        failed = Event()

        def unless_failed(item: Item) -> bool:
            if failed.is_set():  # this result is not read: an earlier one raises
                return False
            try:
                return scrub(item)
            except BaseException:
                failed.set()
                raise

        with ThreadPoolExecutor(self._parallel, thread_name_prefix="scrub") as pool:
            return list(pool.map(unless_failed, items))

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
            if found is None:  # expired in the meantime
                return True
            item = found
        raise StoreUnavailableError("an outcome changes its format repeatedly")

    def _replace(self, old: Item, new: Item) -> bool:
        """Write the changed attributes; return False if a migration has changed the format."""
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
