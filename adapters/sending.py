"""Messages to a queue, in as few calls as SQS takes, and what SQS refused tried again.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from adapters.aws import FIFO_SUFFIX, error_code
from adapters.batching import in_calls
from adapters.dead_letters import attributes_size

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

MAX_ATTEMPTS = 4
"""Calls for one batch, of which each repeats only what SQS refused of the one before."""
BASE_DELAY = 0.1
"""Seconds, doubled an attempt, with full jitter."""
NO_ANSWER = "NoAnswer"
"""The code of an entry of which the answer says nothing."""


class QueueMessage(NamedTuple):
    """A body, and the group that it belongs to."""

    body: str
    group: str | None = None
    """On a FIFO queue what keeps its order; on a standard one who shares the queue fairly."""
    attributes: Mapping[str, Any] | None = None
    """Message attributes as SQS has them."""


@dataclass(slots=True)
class SendReport:
    """What became of messages: those that SQS took, and why it took no more."""

    message_ids: dict[int, str] = field(default_factory=dict)
    """SQS's ids, by the message's place in what was to be sent."""
    code: str | None = None
    """Why something was not sent; `None` when all was."""
    error: Exception | None = None
    """What the last call raised, if it failed as a whole. It may have been carried out."""


class BatchSender:
    """Sends to one queue; safe to share between threads, as its client is."""

    def __init__(
        self,
        client: SQSClient,
        queue_url: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Send through `client`; `sleep` waits seconds, `jitter` gives a factor from 0 to 1."""
        self._client = client
        self._queue_url = queue_url
        self._fifo = queue_url.endswith(FIFO_SUFFIX)
        self._sleep = sleep
        self._jitter = jitter

    def send(self, messages: Sequence[QueueMessage]) -> SendReport:
        """Send messages in order, and stop where one cannot be sent.

        What SQS refuses of a batch is sent again, up to `MAX_ATTEMPTS` times. On a FIFO queue no
        call carries two messages of a group, since SQS may refuse the first and take the second;
        a deduplication id is fresh a message and stays the same when it is sent again.

        No error of AWS is raised: it is in the report.
        """
        report = SendReport()
        apart = _group if self._fifo else None
        for part in in_calls(enumerate(messages), _size, apart):
            self._send_part([self._entry(place, message) for place, message in part], report)
            if report.code is not None:
                break
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
            try:
                answer = self._client.send_message_batch(QueueUrl=self._queue_url, Entries=part)
            except (ClientError, BotoCoreError) as error:  # botocore has tried again already
                report.code, report.error = error_code(error), error
                return
            taken = {row["Id"]: row.get("MessageId", "") for row in answer.get("Successful") or ()}
            part = [entry for entry in part if entry["Id"] not in taken]
            report.message_ids.update({int(place): taken[place] for place in taken})
            if not part:
                return
            refused = answer.get("Failed") or ()
            final = [row.get("Code", NO_ANSWER) for row in refused if row.get("SenderFault")]
            if final or attempt == MAX_ATTEMPTS:
                codes = final or [row.get("Code", NO_ANSWER) for row in refused]
                report.code = codes[0] if codes else NO_ANSWER
                return
            self._sleep(BASE_DELAY * 2 ** (attempt - 1) * self._jitter())


def _group(placed: tuple[int, QueueMessage]) -> str | None:
    return placed[1].group


def _size(placed: tuple[int, QueueMessage]) -> int:
    """Count a message's bytes as SQS does."""
    message = placed[1]
    return len(message.body.encode()) + attributes_size(message.attributes or {})
