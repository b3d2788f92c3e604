"""Dead letters back to their queues: letter by letter, or by SQS's own task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from adapters.aws.client import error_code
from adapters.sqs.dead_letter_queue import DeadLetterQueue, StoredLetter
from adapters.sqs.dead_letters import REASON, REASON_ATTRIBUTES, REDRIVES, outgrown_by_reason
from adapters.sqs.sending import BatchSender, QueueMessage

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MAX_ATTRIBUTES = 10
"""Of a message, at SQS."""
_REFUSED = frozenset(
    {
        "AWS.SimpleQueueService.UnsupportedOperation",
        "InvalidParameterValue",
        "InvalidParameterValueException",
    }
)
"""What is answered while another task runs, and where SQS sees no dead-letter queue."""
_ABSENT = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "InvalidAction",
        "NotImplemented",
        "ResourceNotFoundException",
        "UnknownOperationException",
        "UnsupportedOperation",
        "501",
    }
)
"""What is answered where there are no such tasks, or not for whoever asks."""
_ENDED = _REFUSED | {"ResourceNotFoundException"}
"""What is answered to who cancels a task that has ended."""


class RedriveError(Exception):
    """Letters could not be sent back; the text is one line without personal data."""


@dataclass(slots=True)
class Redriver:
    """Sends letters to the queues they came from and deletes what was sent.

    A crash in between leaves a letter whose command is sent already: a redrive sends it once more,
    and the worker knows the command by its id.
    """

    queue: DeadLetterQueue
    sender: Callable[[str | None], BatchSender]
    """Gives the sender for a letter's original queue (`None`: it is not known)."""
    sent: set[str] = field(default_factory=set)
    """SQS's ids of what was sent, and of those letters."""

    def came_back(self, letter: StoredLetter) -> bool:
        """Say whether it was sent by this very redrive, and is dead again already."""
        return letter.original_id in self.sent

    def redrive(self, letters: Sequence[StoredLetter]) -> list[StoredLetter]:
        """Send letters in hand back, in their order; give those that were.

        Each goes out with its group, a fresh deduplication id, its own attributes, and a count of
        redrives that is one higher.

        Raises:
            RedriveError: not all could be sent, or deleted; the others were.
        """
        done: list[StoredLetter] = []
        for name, part in _by_queue(letters).items():
            report = self.sender(name).send([_message(letter) for letter in part])
            taken = [letter for place, letter in enumerate(part) if place in report.message_ids]
            self.sent.update(report.message_ids.values())
            failures = self.queue.delete(taken) if taken else {}
            done += taken
            if report.code is not None:
                raise RedriveError(f"SQS took no more: {report.code}") from report.error
            if failures:
                codes = ", ".join(sorted(set(failures.values())))
                raise RedriveError(f"{len(failures)} were sent and not deleted: {codes}")
        return done


def _by_queue(letters: Sequence[StoredLetter]) -> Mapping[str | None, list[StoredLetter]]:
    parts: dict[str | None, list[StoredLetter]] = {}
    for letter in letters:
        parts.setdefault(letter.original_queue, []).append(letter)
    return parts


def _message(letter: StoredLetter) -> QueueMessage:
    kept = {
        name: {key: value[key] for key in _VALUES if value.get(key) is not None}
        for name, value in letter.attributes.items()
        if name not in REASON_ATTRIBUTES
    }
    count = {"DataType": "Number", "StringValue": str(letter.redrives + 1)}
    counted = {**kept, REDRIVES: count}
    too_large = outgrown_by_reason({"MessageBody": letter.body, REASON: counted})
    if len(counted) > MAX_ATTRIBUTES or too_large:  # it goes without: SQS would refuse it for ever
        counted = kept
    return QueueMessage(letter.body, letter.group_id, counted)


_VALUES = ("DataType", "StringValue", "BinaryValue")


class MoveProgress(NamedTuple):
    """How far SQS's own task is."""

    status: str
    moved: int
    total: int
    """When it began."""
    failure: str = ""

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self.status in {"RUNNING", "CANCELLING"}


class MoveTask:
    """SQS's own redrive, which moves all there is, without anybody receiving it.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html
    """

    def __init__(self, client: SQSClient, source_arn: str) -> None:
        """Move out of the queue at `source_arn`."""
        self._client = client
        self._source = source_arn
        self._handle = ""

    def start(self, destination_arn: str, rate: int | None) -> str | None:
        """Start, `rate` (1-500) letters a second at most; give why it cannot be had here, or None.

        Raises:
            RedriveError: one is running already.
            ClientError: it cannot be started.
        """
        more: dict[str, Any] = {} if rate is None else {"MaxNumberOfMessagesPerSecond": rate}
        try:
            answer = self._client.start_message_move_task(
                SourceArn=self._source, DestinationArn=destination_arn, **more
            )
        except ClientError as error:
            code = error_code(error)
            if code in _REFUSED and self._is_running():
                raise RedriveError("a redrive of this queue is running already") from error
            if code in _REFUSED | _ABSENT:
                return code
            raise
        self._handle = answer["TaskHandle"]
        return None

    def _is_running(self) -> bool:
        """Ask, since what SQS answers to a second task it answers to other mistakes, too."""
        try:
            return self.progress().running
        except (ClientError, BotoCoreError):
            return False

    def progress(self) -> MoveProgress:
        """Look how far it is."""
        answer = self._client.list_message_move_tasks(SourceArn=self._source, MaxResults=1)
        for row in answer.get("Results") or ():
            return MoveProgress(
                row.get("Status", ""),
                int(row.get("ApproximateNumberOfMessagesMoved", 0)),
                int(row.get("ApproximateNumberOfMessagesToMove", 0) or 0),
                row.get("FailureReason", ""),
            )
        return MoveProgress("COMPLETED", 0, 0)

    def cancel(self) -> str | None:
        """Have it stop; what it has moved stays moved. Give why it goes on, if it does."""
        try:
            self._client.cancel_message_move_task(TaskHandle=self._handle)
        except (ClientError, BotoCoreError) as error:
            code = error_code(error)
            return None if code in _ENDED else code
        return None
