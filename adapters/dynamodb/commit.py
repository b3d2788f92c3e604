"""Commit changes in as few transactions as possible, and find out why a change failed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from botocore.exceptions import ClientError, ParamValidationError

from adapters.aws.client import error_code
from adapters.dynamodb.calls import THROTTLED, Retries, require_answer, unavailable
from adapters.dynamodb.cancellation import classify_cancellation, reason_codes
from adapters.dynamodb.change import ABSENT, Write, new_entry, render_change
from adapters.dynamodb.reads import Key
from adapters.dynamodb.records import render_entry
from adapters.errors import ItemRefusedError
from application.ports import JobKind, OutboxEntry, StoreUnavailableError, ThrottledError
from application.repository import CommitReport, Conflict, UserChange

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

MAX_ACTIONS: Final = 100
MAX_BYTES: Final = 4_000_000
"""DynamoDB allows 4 MB per transaction; the difference covers errors of the estimate."""
ENTRY_BYTES: Final = 10_000
"""Upper bound of the size of an outbox entry with 99 commands."""
OPERATION: Final = "TransactWriteItems"
MALFORMED: Final = frozenset({"ValidationException", "SerializationException"})
"""Errors that do not name an action of the transaction."""
TOO_LARGE: Final = 413
THROTTLED_CALLS: Final = 5
"""Throttled calls in a row after which the table, and not an item, is considered throttled.

Finding one throttled user among the ten of a batch takes four calls: with 10, 5, 2 and 1 users.
"""


@dataclass(slots=True)
class Transaction:
    """Writes that are committed atomically, with their outbox entry."""

    writes: list[Write]
    entry: OutboxEntry
    tried: int = 0
    """Attempts that ended in a conflict with another transaction or a throttled outbox shard."""
    token: str = field(default_factory=lambda: str(uuid4()))
    """Idempotency token: if the answer to a transaction was lost, sending it again has no
    effect."""

    def actions(self, table_name: str) -> list[TransactWriteItemTypeDef]:
        """Return the actions of its writes in order, followed by that of its outbox entry."""
        actions = [action for write in self.writes for action in write.actions]
        item = render_entry(self.entry)
        actions.append(
            {"Put": {"TableName": table_name, "Item": item, "ConditionExpression": ABSENT}}
        )
        return actions


class TransactionWriter:
    """Commit changes to one table."""

    def __init__(self, client: DynamoDBClient, table_name: str, retries: Retries) -> None:
        """Write to `table_name` through `client`; `retries` is for conflicts that may pass."""
        self._client = client
        self._table = table_name
        self._retries = retries

    def commit(self, changes: Sequence[UserChange], now: datetime) -> CommitReport:
        """Commit changes; see `UserRepository.commit`."""
        writes = [
            render_change(self._table, index, change, now) for index, change in enumerate(changes)
        ]
        run = _Run(self._client, self._table, self._retries, now)
        run.commit(pack(run.without_contradictions(writes)))
        return CommitReport(tuple(run.entries), run.conflicts, run.failures)


def pack(writes: Iterable[Write]) -> list[list[Write]]:
    """Distribute writes, in order, over transactions; a write is never split.

    No two writes of one item share a transaction: DynamoDB would refuse the whole transaction.
    """
    packs: list[list[Write]] = []
    actions, size, keys = 0, 0, set[Key]()
    for write in writes:
        fits = (
            actions + len(write.actions) < MAX_ACTIONS  # one action is the outbox entry
            and size + write.size + ENTRY_BYTES <= MAX_BYTES
            and keys.isdisjoint(write.keys)
        )
        if not packs or not fits:
            packs.append([])
            actions, size, keys = 0, 0, set()
        packs[-1].append(write)
        actions += len(write.actions)
        size += write.size
        keys |= write.keys
    return packs


class _Run:
    """One call to commit: the transactions still to send, and the report so far.

    It ends: each transaction that is sent again has fewer writes or one more attempt.
    """

    def __init__(
        self, client: DynamoDBClient, table_name: str, retries: Retries, now: datetime
    ) -> None:
        self._client = client
        self._table = table_name
        self._retries = retries
        self._now = now
        self._queue: deque[Transaction] = deque()
        self._throttled_calls = 0
        """Calls in a row."""
        self.entries: list[OutboxEntry] = []
        self.conflicts: dict[int, Conflict] = {}
        self.failures: dict[int, Exception] = {}

    def commit(self, packs: Iterable[list[Write]]) -> None:
        """Send every pack in order, and repeat what has to be sent again."""
        for writes in packs:
            self._queue.append(self._transaction(writes))
        while self._queue:
            transaction = self._queue.popleft()
            if self._throttled_calls >= THROTTLED_CALLS:
                error = StoreUnavailableError(f"DynamoDB {OPERATION}: all calls are throttled")
                self._failed(transaction, error)
                continue
            if transaction.tried:
                self._retries.pause(transaction.tried)
            self._send(transaction)

    def without_contradictions(self, writes: Iterable[Write]) -> Iterator[Write]:
        """Refuse changes that write an item twice, as AWS does; DynamoDB Local reports a conflict.

        Refusing them here avoids finding them by bisection.
        """
        for write in writes:
            if len(write.keys) == len(write.actions):
                yield write
            else:
                error = ItemRefusedError("a change writes one item twice")
                self.failures[write.index] = error

    def _transaction(self, writes: list[Write], tried: int = 0) -> Transaction:
        commands = tuple(command for write in writes for command in write.commands)
        return Transaction(writes, new_entry(JobKind.PUBLISH, commands, self._now), tried)

    def _send(self, transaction: Transaction) -> None:
        actions = transaction.actions(self._table)
        try:
            answer = self._client.transact_write_items(
                TransactItems=actions, ClientRequestToken=transaction.token
            )
            require_answer(answer)
        except ClientError as error:
            self._answered(transaction, error)
        except ParamValidationError as error:
            self._bisect(transaction, ItemRefusedError, error)
        except Exception as error:  # noqa: BLE001 - see `calls.calling`
            self._failed(transaction, unavailable(OPERATION, error))
        else:
            self._throttled_calls = 0
            self.entries.append(transaction.entry)

    def _answered(self, transaction: Transaction, error: ClientError) -> None:
        code = error_code(error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if code == "TransactionCanceledException":
            self._throttled_calls = 0
            self._cancelled(transaction, error)
        elif code == "TransactionInProgressException":
            self._in_progress(transaction)
        elif code in MALFORMED or status == TOO_LARGE:
            self._bisect(transaction, ItemRefusedError, error)
        elif code in THROTTLED:
            self._throttled_calls += 1
            self._bisect(transaction, ThrottledError, error)
        else:
            self._failed(transaction, unavailable(OPERATION, error))

    def _cancelled(self, transaction: Transaction, error: ClientError) -> None:
        count = sum(len(write.actions) for write in transaction.writes) + 1
        codes = reason_codes(dict(error.response), count)
        if codes is None or all(code == "None" for code in codes):  # cancelled without a reason
            self._failed(transaction, unavailable(OPERATION, error))
            return
        if all(code in THROTTLED for code in codes):  # the table is throttled
            self._failed(transaction, StoreUnavailableError(f"DynamoDB {OPERATION}: {codes[0]}"))
            return
        clean, contended = self._judge(transaction, codes, error)
        if contended:
            self._contended(contended, transaction.tried + 1)
        if not clean:
            return
        if codes[-1] == "None":
            self._queue.appendleft(self._transaction(clean))
        elif transaction.tried + 1 < self._retries.tries:  # another shard may not be throttled
            self._queue.appendleft(self._transaction(clean, transaction.tried + 1))
        else:
            self._failed(replace(transaction, writes=clean), unavailable(OPERATION, error))

    def _judge(
        self, transaction: Transaction, codes: list[str], error: ClientError
    ) -> tuple[list[Write], list[Write]]:
        clean, contended, start = [], [], 0
        for write in transaction.writes:
            end = start + len(write.actions)
            found = classify_cancellation(write.conflicts, codes[start:end])
            start = end
            if found is None:
                clean.append(write)
            elif found is Conflict.CONTENTION:
                contended.append(write)
            elif isinstance(found, Conflict):
                self.conflicts[write.index] = found
            else:
                found.__cause__ = error
                self.failures[write.index] = found
        return clean, contended

    def _contended(self, writes: list[Write], tried: int) -> None:
        if tried < self._retries.tries:
            self._queue.append(self._transaction(writes, tried))
        else:
            self.conflicts.update((write.index, Conflict.CONTENTION) for write in writes)

    def _in_progress(self, transaction: Transaction) -> None:
        """The first attempt, whose answer was lost, is still running: repeat it by its token."""
        transaction.tried += 1
        if transaction.tried < self._retries.tries:
            self._queue.append(transaction)
        else:
            self.conflicts.update((w.index, Conflict.CONTENTION) for w in transaction.writes)

    def _bisect(self, transaction: Transaction, kind: type[Exception], error: Exception) -> None:
        """Find the writes that cause the error: they fail with `kind`; the others are committed."""
        writes = transaction.writes
        if len(writes) == 1:
            failure = kind(f"DynamoDB {OPERATION}: {error_code(error)}")
            failure.__cause__ = error
            self._failed(transaction, failure)
            return
        middle = len(writes) // 2
        for half in (writes[middle:], writes[:middle]):
            self._queue.appendleft(self._transaction(half))

    def _failed(self, transaction: Transaction, error: Exception) -> None:
        self.failures.update((write.index, error) for write in transaction.writes)
