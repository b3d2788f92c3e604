"""The dead-letter queue for operators: read its messages without removing them.

SQS can only return a message by a receive, which hides it from others for a while. So every message
that was read and not deleted is held, kept invisible while the work goes on, and made visible again
at the end, also after Ctrl-C.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from botocore.exceptions import BotoCoreError, ClientError

from adapters.aws.client import error_code
from adapters.sqs.command_queue import redrives
from adapters.sqs.dead_letters import (
    ERROR_CODE,
    ERROR_DETAIL,
    ORIGINAL_ID,
    ORIGINAL_QUEUE,
    QUARANTINED,
    REDACTED,
    UNWRAPPED,
    earlier,
    original_sent_at,
    principal_of,
    stated_principal,
)
from application.queue_port import FIFO_SUFFIX, MAX_BATCH

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

HIDDEN = 120
"""Seconds that a held message is invisible to others; after SIGKILL it reappears only then."""
MOST_HELD = 50_000
"""Maximum number of held messages: SQS allows 120,000 in flight, and other readers need some."""
WAIT = 1
"""Seconds of a long poll; a short poll would not ask all of SQS's servers."""
REPEATS = 3
"""Answers in a row without a new message after which reading ends."""
SENDER_THREADS = 8
"""Concurrent calls that keep messages invisible, or make them visible again."""
_OVER_LIMIT = frozenset({"OverLimit", "AWS.SimpleQueueService.OverLimit"})


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """A message of the dead-letter queue."""

    message_id: str
    body: str
    sent_at: float
    """Seconds since the epoch; for one that SQS itself moved, the time of the first send (on a
    FIFO queue, the time of the move)."""
    group_id: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Message attributes in SQS's form, including the reason."""
    sender: str | None = None
    """The principal that sent the letter, from SenderId."""
    source_queue: str | None = None
    """The queue that the redrive policy moved it from; `None` if a worker sent it."""

    @property
    def reason(self) -> str | None:
        """The error code; `None` if SQS moved the message, so that the reason is unknown.

        Attributes of such a message date from an earlier dead letter.
        """
        return None if self.source_queue else self._text(ERROR_CODE)

    @property
    def detail(self) -> str:
        """The field and the rule that failed."""
        return "" if self.source_queue else self._text(ERROR_DETAIL) or ""

    @property
    def original_id(self) -> str:
        """The message id on the command queue."""
        return self.message_id if self.source_queue else self._text(ORIGINAL_ID) or self.message_id

    @property
    def quarantined(self) -> str | None:
        """Difference of the body from the original in the quarantine queue; `None`: no original."""
        value = None if self.source_queue else self._text(QUARANTINED)
        return value if value in {REDACTED, UNWRAPPED} else None

    @property
    def quarantined_id(self) -> str:
        """Of a message in the quarantine queue, its id on the command queue."""
        return self._text(ORIGINAL_ID) or self.group_id or self.message_id

    @property
    def original_queue(self) -> str | None:
        """The name of the queue that it came from, if held_before."""
        return self.source_queue or self._text(ORIGINAL_QUEUE)

    @property
    def original_sent_at(self) -> float:
        """When the message was first sent to a command queue, in seconds since the epoch.

        If no worker recorded it, the time when the letter was sent or moved.
        """
        return earlier(self.sent_at, original_sent_at(self.attributes))

    @property
    def principal(self) -> str | None:
        """The principal that first sent the message; `None` if it is not known for certain.

        A worker records it. SQS itself keeps the SenderId of a message that it moves, whose
        attributes were written by the sender and prove nothing. If they state another principal,
        the sender may be an operator who redrove the message, or have forged the statement.
        """
        stated = stated_principal(self.attributes)
        if not self.source_queue:
            return stated
        return self.sender if stated in (None, self.sender) else None

    @property
    def redrives(self) -> int:
        """Number of earlier redrives."""
        return redrives(self.attributes)

    def _text(self, name: str) -> str | None:
        value = self.attributes.get(name)
        return value.get("StringValue") if isinstance(value, Mapping) else None


class Depth(NamedTuple):
    """The number of messages in a queue, as SQS reports it: approximate."""

    visible: int
    hidden: int
    """Received and not deleted yet."""

    @property
    def total(self) -> int:
        """Visible and hidden messages."""
        return self.visible + self.hidden


@dataclass(slots=True)
class _Held:
    receipt: str
    until: float


class DeadLetterQueue:
    """One dead-letter queue; as a context manager it releases the held messages at the end."""

    def __init__(
        self,
        client: SQSClient,
        url: str,
        *,
        most_held: int = MOST_HELD,
        wait: int = WAIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use the queue at `url`; `wait` (seconds) and `clock` are for tests."""
        self._client = client
        self._url = url
        self._most_held = most_held
        self._wait = wait
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self.fifo = url.endswith(FIFO_SUFFIX)
        """Whether a held message also hides the later messages of its group."""
        self.complete = True
        """Whether reading ended because no more messages came, and not at a limit."""

    def __enter__(self) -> Self:
        """Return the queue."""
        return self

    def __exit__(self, *_: object) -> None:
        """Release the held messages."""
        self.release()

    def depth(self) -> Depth:
        """Return the number of messages."""
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=names)
        visible, hidden = (int(answer["Attributes"].get(name, 0)) for name in names)
        return Depth(visible, hidden)

    def letters(self, most: int | None = None) -> Iterator[list[StoredLetter]]:
        """Yield messages, up to ten at a time and `most` in total, until no more come.

        Each is yielded once. It is invisible to others until it is deleted or released.

        Raises:
            ClientError: the queue cannot be read (or a BotoCoreError).
        """
        self.complete = True
        left, idle = most, 0
        while idle < REPEATS:
            count = MAX_BATCH if left is None else min(MAX_BATCH, left)
            if count == 0 or len(self._held) >= self._most_held:
                self.complete = False
                return
            self.renew()
            rows = self._receive(count)
            if not rows:
                return
            fresh = [letter for letter in map(self._hold, rows) if letter is not None]
            idle = 0 if fresh else idle + 1
            if left is not None:
                left -= len(fresh)
            if fresh:
                yield fresh

    def delete(self, letters: Sequence[StoredLetter]) -> dict[str, str]:
        """Delete held messages; return the ids of those that failed, with SQS's code.

        Those stay held. Raises nothing for an answer of SQS, or its absence.
        """
        held = {each.message_id: self._held.pop(each.message_id) for each in letters}
        failures: dict[str, str] = {}
        for part in _chunks(held.items()):
            entries: Any = [
                {"Id": str(place), "ReceiptHandle": each.receipt}
                for place, (_, each) in enumerate(part)
            ]
            try:
                answer = self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)
            except Exception as error:  # noqa: BLE001 - keep what was deleted, and report the rest
                failures |= dict.fromkeys((each for each, _ in part), error_code(error))
                continue
            for row in answer.get("Failed") or ():
                failures[part[int(row["Id"])][0]] = row.get("Code", "Unknown")
        self._held |= {message_id: held[message_id] for message_id in failures}
        return failures

    def release(self) -> int:
        """Make all held messages visible again; return how many remain hidden for `HIDDEN` seconds.

        Raises nothing: the messages become visible by themselves.
        """
        held, self._held = self._held, {}
        if not held:
            return 0
        return sum(len(lost) for _, lost in self._hide_all(held.items(), 0))

    def _receive(self, count: int) -> Sequence[Any]:
        try:
            answer = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=count,
                WaitTimeSeconds=self._wait,
                VisibilityTimeout=HIDDEN,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
        except ClientError as error:
            if error_code(error) not in _OVER_LIMIT:
                raise
            self.complete = False
            return ()
        return answer.get("Messages") or ()

    def _hold(self, row: Mapping[str, Any]) -> StoredLetter | None:
        """Hold a message; return `None` if it is held already, as SQS may return one twice."""
        message_id = row["MessageId"]
        held_before = self._held.pop(message_id, None)
        self._held[message_id] = _Held(row["ReceiptHandle"], self._clock() + HIDDEN)
        return None if held_before else _letter(row)

    def renew(self) -> None:
        """Keep held messages invisible that would soon reappear; the oldest come first.

        `letters` does this between its receives.
        """
        now = self._clock()
        due = [item for item in self._held.items() if item[1].until - now < HIDDEN / 2]
        for part, lost in self._hide_all(due, HIDDEN):
            for message_id, each in part:
                del self._held[message_id]
                if each.receipt not in lost:
                    self._held[message_id] = _Held(each.receipt, now + HIDDEN)

    def _hide_all(
        self, items: Iterable[tuple[str, _Held]], seconds: int
    ) -> Iterator[tuple[list[tuple[str, _Held]], set[str]]]:
        """Hide ten messages per call, with concurrent calls; yield each ten with the lost receipts.

        Sequential calls could not keep 50,000 messages invisible in time.
        """
        parts = list(_chunks(items))
        if not parts:
            return
        receipts = [[each.receipt for _, each in part] for part in parts]
        with ThreadPoolExecutor(min(SENDER_THREADS, len(parts))) as pool:
            yield from zip(
                parts, pool.map(lambda some: self._hide(some, seconds), receipts), strict=True
            )

    def _hide(self, receipts: Sequence[str], seconds: int) -> set[str]:
        """Make messages visible after `seconds`; return the receipts that SQS rejects."""
        entries: Any = [
            {"Id": str(place), "ReceiptHandle": receipt, "VisibilityTimeout": seconds}
            for place, receipt in enumerate(receipts)
        ]
        try:
            answer = self._client.change_message_visibility_batch(
                QueueUrl=self._url, Entries=entries
            )
        except (ClientError, BotoCoreError):
            return set(receipts)
        return {receipts[int(row["Id"])] for row in answer.get("Failed") or ()}


def _letter(row: Mapping[str, Any]) -> StoredLetter:
    system = row.get("Attributes") or {}
    source = system.get("DeadLetterQueueSourceArn")
    return StoredLetter(
        message_id=row["MessageId"],
        body=row.get("Body", ""),
        sent_at=int(system.get("SentTimestamp", 0)) / 1000,
        group_id=system.get("MessageGroupId"),
        attributes=row.get("MessageAttributes") or {},
        sender=principal_of(system),
        source_queue=source.rpartition(":")[2] if source else None,
    )


def _chunks(items: Iterable[tuple[str, _Held]]) -> Iterator[list[tuple[str, _Held]]]:
    rows = list(items)
    for start in range(0, len(rows), MAX_BATCH):
        yield rows[start : start + MAX_BATCH]
