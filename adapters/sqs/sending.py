"""Send messages to a queue in as few calls as SQS allows, and retry what SQS refused.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from adapters.aws.batching import in_calls
from adapters.aws.client import error_code
from adapters.sqs.dead_letters import attributes_size
from application.backoff import Backoff
from application.queue_port import FIFO_SUFFIX

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

MAX_ATTEMPTS = 4
"""Calls for one batch; each call repeats only what SQS refused in the call before."""
BACKOFF = Backoff(0.1)
NO_ANSWER = "NoAnswer"
"""The code of an entry that the answer does not mention."""


class QueueMessage(NamedTuple):
    """A message body and its group."""

    body: str
    group: str | None = None
    """On a FIFO queue, messages of a group keep their order; on a standard queue, groups share
    the queue fairly."""
    attributes: Mapping[str, Any] | None = None
    """Message attributes in SQS's own form."""


@dataclass(slots=True)
class SendReport:
    """Messages that SQS accepted, and the reason why others were not sent."""

    message_ids: dict[int, str] = field(default_factory=dict)
    """SQS's ids, by the message's position in the input."""
    code: str | None = None
    """Reason why a message was not sent; `None` if all were."""
    error: Exception | None = None
    """The exception, if a call failed as a whole. SQS may have carried out the call."""


class BatchSender:
    """Send to one queue; thread-safe, as its client is."""

    def __init__(
        self,
        client: SQSClient,
        queue_url: str,
        *,
        sleep: Callable[[float], object] = time.sleep,
        backoff: Backoff = BACKOFF,
    ) -> None:
        """Send through `client`; `sleep` waits for seconds."""
        self._client = client
        self._queue_url = queue_url
        self._fifo = queue_url.endswith(FIFO_SUFFIX)
        self._sleep = sleep
        self._backoff = backoff

    def send(
        self, messages: Sequence[QueueMessage], report: SendReport | None = None
    ) -> SendReport:
        """Send messages in order; stop at the first that cannot be sent.

        Entries of a batch that SQS refuses are sent again, up to `MAX_ATTEMPTS` times. On a FIFO
        queue no call carries two messages of a group, since SQS may refuse the first and accept the
        second; each message has a new deduplication id, which stays the same when it is sent again.

        Raises no exception of any kind: it is in the report, together with what was sent before it.
        An interruption (KeyboardInterrupt, SystemExit) passes through.

        Args:
            messages: what to send.
            report: filled in call by call; after an interruption, a caller that passes its own can
                still read what was sent.
        """
        report = SendReport() if report is None else report
        apart = _group if self._fifo else None
        try:
            for part in in_calls(enumerate(messages), _size, apart):
                self._send_part([self._entry(place, message) for place, message in part], report)
                if report.code is not None:
                    break
        except Exception as error:  # noqa: BLE001 - keep the ids of what was sent
            report.code, report.error = error_code(error), error
        return report

    def _entry(self, place: int, message: QueueMessage) -> SendMessageBatchRequestEntryTypeDef:
        entry: SendMessageBatchRequestEntryTypeDef = {
            "Id": str(place),
            "MessageBody": message.body,
        }
        if message.group is not None:
            entry["MessageGroupId"] = message.group
        if message.attributes:
            entry["MessageAttributes"] = message.attributes
        if self._fifo:
            entry["MessageDeduplicationId"] = str(uuid4())
        return entry

    def _send_part(
        self, part: list[SendMessageBatchRequestEntryTypeDef], report: SendReport
    ) -> None:
        for attempt in range(1, MAX_ATTEMPTS + 1):
            # botocore retries a call that failed as a whole by itself
            answer = self._client.send_message_batch(QueueUrl=self._queue_url, Entries=part)
            accepted = {
                row["Id"]: str(row.get("MessageId", "")) for row in _rows(answer, "Successful")
            }
            for entry in part:
                if entry["Id"] in accepted:
                    report.message_ids[int(entry["Id"])] = accepted[entry["Id"]]
            part = [entry for entry in part if entry["Id"] not in accepted]
            if not part:
                return
            refused = _rows(answer, "Failed")
            final = [row.get("Code", NO_ANSWER) for row in refused if row.get("SenderFault")]
            if final or attempt == MAX_ATTEMPTS:
                codes = final or [row.get("Code", NO_ANSWER) for row in refused]
                report.code = str(codes[0]) if codes else NO_ANSWER
                return
            self._sleep(self._backoff.delay(attempt))


def _rows(answer: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return the result rows of an answer; rows without an entry id are ignored."""
    rows = answer.get(name) or ()
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get("Id"), str)]


def _group(placed: tuple[int, QueueMessage]) -> str | None:
    return placed[1].group


def _size(placed: tuple[int, QueueMessage]) -> int:
    """Return a message's bytes as SQS counts them."""
    message = placed[1]
    return len(message.body.encode()) + attributes_size(message.attributes or {})
