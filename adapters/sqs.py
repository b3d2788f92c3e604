"""The command queue and its dead-letter queue over boto3; keeps `worker.transport.CommandQueue`.

Failures are reported an entry, as SQS does; a call that failed as a whole raises `SqsError`,
whose text names the operation, the queue and the service's code, and nothing of a message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from time import time
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from adapters import aws
from adapters.aws import FIFO_SUFFIX, error_code
from adapters.batching import in_calls
from adapters.dead_letters import (
    REASON,
    REDRIVES,
    Letter,
    entry_size,
    outgrown_by_reason,
    render_letter,
)

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

TOO_LONG = ("BatchRequestTooLong", "InvalidParameterValue", "InvalidMessageContents")
LONGEST_WAIT = 20  # seconds of a long poll
ATTRIBUTES = [
    "ApproximateReceiveCount",
    "ApproximateFirstReceiveTimestamp",
    "SentTimestamp",
    "MessageGroupId",
]
_COUNT = re.compile(r"[0-9]{1,4}")
MISSING = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})


class SqsError(Exception):
    """A call failed as a whole; the text is one line without personal data."""


class QueueMissingError(SqsError, LookupError):
    """The queue, or its dead-letter queue, does not exist."""


@dataclass(frozen=True, slots=True)
class SqsMessage:
    """One received message. Times are seconds since the epoch."""

    message_id: str
    receipt: str
    body: str
    receives: int
    sent_at: float
    received_at: float
    group_id: str | None
    trace: str | None = field(default=None, kw_only=True)
    """The `traceparent` of the receive, where that is traced."""
    redrives: int = 0
    """How often it was a dead letter before."""
    first_received_at: float | None = None


def make_client(wait_seconds: int) -> SQSClient:
    """Make a client whose every call ends, 10 s after the long poll at the latest.

    One attempt, as the transport tries again itself and knows better when.
    """
    client = aws.client("sqs", read_timeout=wait_seconds + aws.READ_TIMEOUT, attempts=1)
    client.meta.events.register("after-call.sqs", _refuse_junk)
    return client


class UnreadableAnswerError(BotoCoreError):
    """Something answered 200 that is not SQS, or is not all of its answer."""

    fmt = "not an answer of SQS"


def _refuse_junk(http_response: Any, **_: Any) -> None:
    """Raise for what botocore reads as an empty answer: a successful receive of nothing."""
    content: bytes = http_response.content
    length = http_response.headers.get("Content-Length", len(content))
    whole = int(length) == len(content) and content.startswith(b"{") and content.endswith(b"}")
    if http_response.status_code == HTTPStatus.OK and not whole:
        raise UnreadableAnswerError


class SqsCommandQueue:
    """One queue and its dead-letter queue, by name; safe to share between threads."""

    def __init__(
        self, name: str, dead_letter_queue: str, client_factory: Callable[[int], Any] = make_client
    ) -> None:
        """Use one client for polls and one for the rest, each made for the longest wait it has.

        A call that gets no answer must fail while there is time to make it again: a renewal that
        waited as long as a poll would come too late.
        """
        self._name = name
        self._dead_letter_queue = dead_letter_queue
        self._poller = client_factory(LONGEST_WAIT)
        self._client = client_factory(0)
        self._urls: dict[str, str] = {}

    def check(self) -> None:
        """See that both queues exist.

        Raises:
            QueueMissingError: one does not.
            SqsError: the service did not say.
        """
        for name in (self._name, self._dead_letter_queue):
            self._url(name)

    def receive(
        self, max_messages: int, wait_seconds: int, visibility_timeout: int | None = None
    ) -> Sequence[SqsMessage]:
        """Wait up to `wait_seconds` (0-20) for messages and give up to `max_messages` (1-10).

        They stay invisible to others for `visibility_timeout` seconds, or as the queue has it.
        """
        visibility = {} if visibility_timeout is None else {"VisibilityTimeout": visibility_timeout}
        answer = self._call(
            "receive_message",
            self._name,
            MaxNumberOfMessages=max_messages,
            WaitTimeSeconds=wait_seconds,
            **visibility,
            MessageSystemAttributeNames=ATTRIBUTES,
            MessageAttributeNames=[REDRIVES],
        )
        now = time()
        return [
            _message(row, now) for row in answer.get("Messages") or () if row.get("ReceiptHandle")
        ]

    def delete(self, receipts: Sequence[str]) -> Mapping[str, str]:
        """Delete messages; give the receipts that failed with their codes."""
        entries = [{"ReceiptHandle": receipt} for receipt in receipts]
        return self._in_batches("delete_message_batch", self._name, receipts, entries)

    def change_visibility(self, changes: Sequence[tuple[str, int]]) -> Mapping[str, str]:
        """Make messages visible in so many seconds; give the receipts that failed."""
        receipts = [receipt for receipt, _ in changes]
        entries = [{"ReceiptHandle": receipt, "VisibilityTimeout": s} for receipt, s in changes]
        return self._in_batches("change_message_visibility_batch", self._name, receipts, entries)

    def dead_letter(self, letters: Sequence[Letter]) -> Mapping[str, str]:
        """Send messages to the dead-letter queue with the reason; give the receipts that failed."""
        fifo = self._dead_letter_queue.endswith(FIFO_SUFFIX)
        entries = {
            letter.message.receipt: render_letter(letter, self._name, fifo=fifo)
            for letter in letters
        }
        failures: dict[str, str] = {}
        for receipt in [key for key, entry in entries.items() if outgrown_by_reason(entry)]:
            failures.update(self._bury_big(receipt, entries.pop(receipt)))
        return {**failures, **self._bury(entries)}

    def _bury_big(self, receipt: str, entry: dict[str, Any]) -> Mapping[str, str]:
        """Send what only some queues take, and where it is too long, send it without the reason.

        The message matters more than the reason, which the log has too.
        """
        try:
            failures = self._bury({receipt: entry})
            if not failures.get(receipt, "").endswith(TOO_LONG):
                return failures
        except SqsError as error:
            if not str(error).endswith(TOO_LONG):
                return {receipt: str(error)}
        del entry[REASON]
        return self._bury({receipt: entry})

    def _bury(self, entries: dict[str, dict[str, Any]]) -> Mapping[str, str]:
        """Send entries to the dead-letter queue; give the receipts that failed."""
        receipts, bodies = [*entries], [*entries.values()]
        return self._in_batches("send_message_batch", self._dead_letter_queue, receipts, bodies)

    def _in_batches(
        self, operation: str, queue: str, keys: Sequence[str], entries: Sequence[dict[str, Any]]
    ) -> Mapping[str, str]:
        """Call once for each batch that fits; give the keys of the entries that failed.

        A call that fails as a whole raises if it is the only one, and otherwise fails its
        entries only, since others may have succeeded.
        """
        for place, entry in enumerate(entries):
            entry["Id"] = str(place)
        parts = list(in_calls(entries, entry_size))
        failures: dict[str, str] = {}
        for part in parts:
            try:
                answer = self._call(operation, queue, Entries=part)
            except SqsError as error:
                if len(parts) == 1:
                    raise
                failures |= {keys[int(entry["Id"])]: str(error) for entry in part}
            else:
                failures |= _failures(answer, part, keys)
        return failures

    def _call(self, operation: str, queue: str, **arguments: Any) -> dict[str, Any]:
        url = self._url(queue)
        client = self._poller if operation == "receive_message" else self._client
        try:
            answer: dict[str, Any] = getattr(client, operation)(QueueUrl=url, **arguments)
        except (ClientError, BotoCoreError) as error:
            missing = error_code(error) in MISSING
            if missing:
                self._urls.pop(queue, None)  # made again, it may have another
            raise _translated(error, operation, queue) from error
        return answer

    def _url(self, queue: str) -> str:
        if queue not in self._urls:
            try:
                self._urls[queue] = self._client.get_queue_url(QueueName=queue)["QueueUrl"]
            except (ClientError, BotoCoreError) as error:
                raise _translated(error, "get_queue_url", queue) from error
        return self._urls[queue]


def _message(row: Mapping[str, Any], now: float) -> SqsMessage:
    attributes = row.get("Attributes") or {}
    first = attributes.get("ApproximateFirstReceiveTimestamp")
    return SqsMessage(
        message_id=row.get("MessageId", ""),
        receipt=row["ReceiptHandle"],
        body=row.get("Body", ""),
        receives=int(attributes.get("ApproximateReceiveCount", 1)),
        sent_at=int(attributes.get("SentTimestamp", now * 1000)) / 1000,
        received_at=now,
        group_id=attributes.get("MessageGroupId"),
        redrives=redrives(row.get("MessageAttributes")),
        first_received_at=int(first) / 1000 if first else None,
    )


def redrives(attributes: Mapping[str, Any] | None) -> int:
    """Read how often a message was redriven; 0 for what is no number, as anyone may write it."""
    text = str(((attributes or {}).get(REDRIVES) or {}).get("StringValue", ""))
    return int(text) if _COUNT.fullmatch(text) else 0


def _failures(
    answer: Mapping[str, Any], part: Sequence[Mapping[str, Any]], keys: Sequence[str]
) -> dict[str, str]:
    """Give the entries that the answer does not call successful."""
    succeeded = {row.get("Id") for row in answer.get("Successful") or ()}
    codes = {row.get("Id"): row.get("Code", "Unknown") for row in answer.get("Failed") or ()}
    return {
        keys[int(entry["Id"])]: codes.get(entry["Id"], "NoAnswer")
        for entry in part
        if entry["Id"] not in succeeded
    }


def _translated(error: Exception, operation: str, queue: str) -> SqsError:
    code = error_code(error)
    if code in MISSING:
        return QueueMissingError(f"queue {queue} does not exist")
    return SqsError(f"{operation} on {queue}: {code}")
