"""A command queue with its dead-letter and quarantine queues over boto3.

Implements `CommandQueue`.

Failures are reported per entry, as SQS does. A call that fails as a whole raises `SqsError` for any
exception of the client; its text names the operation, the queue and the code, and no content of a
message. An entry that succeeded is never reported as failed because another call failed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from http import HTTPStatus
from time import time, time_ns
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from adapters.aws import client as aws
from adapters.aws.batching import in_calls
from adapters.aws.client import error_code
from adapters.clock import clock_difference
from adapters.sqs.dead_letters import (
    EDITED,
    ORIGINAL_SENT_AT,
    PRINCIPAL,
    REASON,
    REDRIVES,
    edited_original,
    entry_size,
    original_sent_at,
    outgrown_by_reason,
    principal_of,
    render_letter,
    render_original,
    stated_principal,
)
from application.observer import NULL_OBSERVER, WorkerObserver
from application.queue_port import (
    FIFO_SUFFIX,
    CommandQueue,
    DeadLetterMessage,
    Failures,
    RawMessage,
)

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

CONTENT_CODES = ("BatchRequestTooLong", "InvalidParameterValue", "InvalidMessageContents")
"""Suffixes of the codes that concern an entry, and not the whole call."""
UNRENDERABLE = "InvalidMessageContents"
"""The code of a dead letter that cannot be rendered."""
LONGEST_WAIT = 20  # seconds of a long poll
ATTRIBUTES = [
    "ApproximateReceiveCount",
    "ApproximateFirstReceiveTimestamp",
    "SentTimestamp",
    "MessageGroupId",
    "SenderId",
]
_COUNT = re.compile(r"[0-9]{1,4}")
MISSING = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})


class SqsError(Exception):
    """A call failed as a whole; the text is one line without personal data."""

    def __init__(self, text: str, code: str) -> None:
        """Set the text and the code: the service's, or the class of any other error."""
        super().__init__(text)
        self.code = code


class QueueMissingError(SqsError, LookupError):
    """The queue, or its dead-letter queue, does not exist."""


def make_client(wait_seconds: int) -> SQSClient:
    """Create a client whose calls end at the latest 10 s after the long poll.

    One attempt, because the transport retries by its own rules.
    """
    client = aws.client("sqs", read_timeout=wait_seconds + aws.READ_TIMEOUT, attempts=1)
    client.meta.events.register("after-call.sqs", _refuse_junk)
    return client


class UnreadableAnswerError(BotoCoreError):
    """An answer with status 200 that is not from SQS, or incomplete."""

    fmt = "the answer is not from SQS"


def _refuse_junk(http_response: Any, **_: Any) -> None:
    """Raise for an answer that botocore would read as a successful receive without messages."""
    content: bytes = http_response.content
    length = http_response.headers.get("Content-Length", len(content))
    whole = int(length) == len(content) and content.startswith(b"{") and content.endswith(b"}")
    if http_response.status_code == HTTPStatus.OK and not whole:
        raise UnreadableAnswerError


class SqsCommandQueue(CommandQueue):
    """One queue, its dead-letter queue and its quarantine queue, by name; thread-safe."""

    def __init__(
        self,
        name: str,
        dead_letter_queue: str,
        quarantine_queue: str,
        client_factory: Callable[[int], Any] = make_client,
        on_clock: Callable[[float], None] = lambda _: None,
        *,
        observer: WorkerObserver = NULL_OBSERVER,
    ) -> None:
        """Create one client for polls and one for the rest, each for its longest wait.

        A call without an answer must fail while there is time to repeat it: a renewal that waited
        as long as a poll would come too late.

        `on_clock` is called with the seconds by which this machine's clock is ahead of each
        answer's Date (see `clock_difference`), by any thread that makes a call.
        """
        self._name = name
        self._dead_letter_queue = dead_letter_queue
        self._quarantine_queue = quarantine_queue
        self._poller = client_factory(LONGEST_WAIT)
        self._client = client_factory(0)
        self._urls: dict[str, str] = {}
        self._on_clock = on_clock
        self._observer = observer

    def receive(
        self, max_messages: int, wait_seconds: int, visibility_timeout: int | None = None
    ) -> Sequence[RawMessage]:
        """See the port; without a visibility timeout, that of the queue applies."""
        visibility = {} if visibility_timeout is None else {"VisibilityTimeout": visibility_timeout}
        started = time_ns()
        answer = self._call(
            "receive_message",
            self._name,
            MaxNumberOfMessages=max_messages,
            WaitTimeSeconds=wait_seconds,
            **visibility,
            MessageSystemAttributeNames=ATTRIBUTES,
            MessageAttributeNames=[REDRIVES, ORIGINAL_SENT_AT, PRINCIPAL, EDITED],
        )
        now = time()
        rows = [row for row in answer.get("Messages") or () if row.get("ReceiptHandle")]
        trace = self._observer.received(self._name, len(rows), started) if rows else None
        return [_message(row, now, trace) for row in rows]

    def delete(self, receipts: Sequence[str]) -> Failures:
        """See the port. As the next three, raises `SqsError` if all failed without an answer."""
        entries = {receipt: {"ReceiptHandle": receipt} for receipt in receipts}
        return _codes(entries, self._send("delete_message_batch", self._name, entries))

    def change_visibility(self, changes: Sequence[tuple[str, int]]) -> Failures:
        """See the port."""
        entries = {
            receipt: {"ReceiptHandle": receipt, "VisibilityTimeout": seconds}
            for receipt, seconds in changes
        }
        return _codes(entries, self._send("change_message_visibility_batch", self._name, entries))

    def quarantine(self, letters: Sequence[DeadLetterMessage]) -> Failures:
        """See the port."""
        return self._send_letters(self._quarantine_queue, render_original, letters)

    def dead_letter(self, letters: Sequence[DeadLetterMessage]) -> Failures:
        """See the port."""
        failures = self._send_letters(self._dead_letter_queue, render_letter, letters)
        self._observer.dead_lettered(
            Counter(each.reason.code for each in letters if each.message.receipt not in failures)
        )
        return failures

    def _send_letters(
        self,
        queue: str,
        render: Callable[..., dict[str, Any]],
        letters: Sequence[DeadLetterMessage],
    ) -> Failures:
        fifo = queue.endswith(FIFO_SUFFIX)
        failures: dict[str, str | SqsError] = {}
        entries: dict[str, dict[str, Any]] = {}
        for letter in letters:
            receipt = letter.message.receipt
            try:
                entry = render(letter, self._name, fifo=fifo)
                if outgrown_by_reason(entry):
                    failures |= self._send_oversized(queue, receipt, entry)
                else:
                    entries[receipt] = entry
            except Exception:  # noqa: BLE001 - one message must not delay the others
                failures[receipt] = UNRENDERABLE
        failures |= self._send("send_message_batch", queue, entries)
        return _codes([letter.message.receipt for letter in letters], failures)

    def _send_oversized(
        self, queue: str, receipt: str, entry: dict[str, Any]
    ) -> dict[str, str | SqsError]:
        """Send an entry that only some queues accept; if it is too long, omit the attributes.

        The message matters more than the reason, which is also in the log.
        """
        failures = self._send("send_message_batch", queue, {receipt: entry})
        if not str(failures.get(receipt, "")).endswith(CONTENT_CODES):
            return failures
        del entry[REASON]
        return self._send("send_message_batch", queue, {receipt: entry})

    def _send(
        self, operation: str, queue: str, entries: Mapping[str, dict[str, Any]]
    ) -> dict[str, str | SqsError]:
        """Make one call for each batch that fits.

        Returns the keys of the entries that failed, each with its code or with the error of its
        call. If SQS refuses a call for one entry without naming it, each entry is sent alone.
        """
        keys = list(entries)
        for place, entry in enumerate(entries.values()):
            entry["Id"] = str(place)
        calls = list(in_calls(entries.values(), entry_size))
        failures: dict[str, str | SqsError] = {}
        while calls:
            part = calls.pop(0)
            try:
                codes = _failures(self._call(operation, queue, Entries=part), part)
            except Exception as caught:  # noqa: BLE001 - other calls may have succeeded
                error = _translated(caught, operation, queue)
                about_an_entry = error.code.endswith(CONTENT_CODES)
                if about_an_entry and len(part) > 1:
                    calls += [[entry] for entry in part]
                    continue
                failed = error.code if about_an_entry else error
                codes = {entry["Id"]: failed for entry in part}
            failures |= {keys[int(place)]: code for place, code in codes.items()}
        return failures

    def _call(self, operation: str, queue: str, **arguments: Any) -> dict[str, Any]:
        url = self._url(queue)
        client = self._poller if operation == "receive_message" else self._client
        began = time()
        try:
            answer: dict[str, Any] = getattr(client, operation)(QueueUrl=url, **arguments)
        except Exception as error:
            if error_code(error) in MISSING:
                self._urls.pop(queue, None)  # a new queue may have another URL
            if isinstance(error, ClientError) and "RequestId" in _metadata(error):
                self._compare_clocks(error.response, began)  # else AWS did not answer
            raise _translated(error, operation, queue) from error
        self._compare_clocks(answer, began)
        return answer

    def _compare_clocks(self, answer: Any, began: float) -> None:
        seconds = clock_difference(answer, began, time())
        if seconds is not None:
            self._on_clock(seconds)

    def _url(self, queue: str) -> str:
        if queue not in self._urls:
            try:
                self._urls[queue] = self._client.get_queue_url(QueueName=queue)["QueueUrl"]
            except Exception as error:
                raise _translated(error, "get_queue_url", queue) from error
        return self._urls[queue]


def _message(row: Mapping[str, Any], now: float, trace: str | None) -> RawMessage:
    attributes = row.get("Attributes") or {}
    first = attributes.get("ApproximateFirstReceiveTimestamp")
    return RawMessage(
        message_id=row.get("MessageId", ""),
        receipt=row["ReceiptHandle"],
        body=row.get("Body", ""),
        receives=int(attributes.get("ApproximateReceiveCount", 1)),
        sent_at=int(attributes.get("SentTimestamp", now * 1000)) / 1000,
        received_at=now,
        group_id=attributes.get("MessageGroupId"),
        trace=trace,
        redrives=redrives(row.get("MessageAttributes")),
        original_sent_at=original_sent_at(row.get("MessageAttributes")),
        first_received_at=int(first) / 1000 if first else None,
        principal=principal_of(attributes),
        first_principal=stated_principal(row.get("MessageAttributes")),
        edited_original=edited_original(row.get("MessageAttributes")),
    )


def redrives(attributes: Mapping[str, Any] | None) -> int:
    """Return how often a message was redriven; 0 for an invalid value, as any sender can set it."""
    text = str(((attributes or {}).get(REDRIVES) or {}).get("StringValue", ""))
    return int(text) if _COUNT.fullmatch(text) else 0


def _failures(
    answer: Mapping[str, Any], part: Sequence[Mapping[str, Any]]
) -> dict[str, str | SqsError]:
    """Return the ids of the entries that the answer does not call successful, with their codes."""
    succeeded = {row.get("Id") for row in answer.get("Successful") or ()}
    codes = {row.get("Id"): row.get("Code", "Unknown") for row in answer.get("Failed") or ()}
    ids = [entry["Id"] for entry in part]
    return {each: codes.get(each, "NoAnswer") for each in ids if each not in succeeded}


def _codes(keys: Collection[str], failures: Mapping[str, str | SqsError]) -> Failures:
    """Return the codes of the entries that failed.

    Raises:
        SqsError: all failed, and none by an answer about itself.
    """
    errors = [failure for failure in failures.values() if isinstance(failure, SqsError)]
    if errors and len(errors) == len(keys):
        raise errors[0]
    return {
        key: failure.code if isinstance(failure, SqsError) else failure
        for key, failure in failures.items()
    }


def _metadata(error: ClientError) -> Mapping[str, Any]:
    found: Any = error.response.get("ResponseMetadata")
    return found if isinstance(found, dict) else {}


def _translated(error: Exception, operation: str, queue: str) -> SqsError:
    if isinstance(error, SqsError):
        return error
    code = error_code(error)
    if code in MISSING:
        return QueueMissingError(f"queue {queue} does not exist", code)
    return SqsError(f"{operation} on {queue}: {code}", code)
