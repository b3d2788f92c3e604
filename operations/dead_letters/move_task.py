"""Move all dead letters with SQS's own task (StartMessageMoveTask)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from adapters.aws.client import error_code
from operations.dead_letters.processing import Result
from operations.printable import counted
from operations.progress import Progress
from worker.connections import Aws
from worker.errors import CliError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

POLL_INTERVAL = 0.5
"""Seconds between two reads of a task's progress."""
MAX_RATE = 500
"""Letters per second: the highest rate that SQS accepts."""
_REFUSED = frozenset(
    {
        "AWS.SimpleQueueService.UnsupportedOperation",
        "InvalidParameterValue",
        "InvalidParameterValueException",
    }
)
"""Error codes while another task is running, or if SQS does not see a dead-letter queue."""
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
"""Error codes if such tasks are not supported, or the caller may not start one."""
_ENDED = _REFUSED | {"ResourceNotFoundException"}
"""Error codes for cancelling a task that has ended."""


def move_all(aws: Aws, rate: float | None, progress: Progress) -> Result | None:
    """Move all letters to the command queue by a task of SQS; return `None` if that is unavailable.

    Raises:
        CliError: a task is running already, or SQS stopped the task.
    """
    task = MoveTask(aws.sqs, aws.queue_arn(aws.dead_letter_queue_url))
    limit = None if rate is None else max(1, min(MAX_RATE, int(rate)))
    unavailable = task.start(aws.command_queue_arn, limit)
    if unavailable:
        progress.note(
            f"StartMessageMoveTask is unavailable ({unavailable}): moving letters one by one"
        )
        return None
    try:
        return _follow(task, progress)
    except KeyboardInterrupt:
        if code := task.cancel():
            text = f"the redrive by SQS is still running and could not be cancelled: {code}"
            progress.note(text, warning=True)
        raise


def _follow(task: MoveTask, progress: Progress) -> Result:
    """Wait for the end of a task; cancel it if letters come back as fast as they are moved."""
    seen, endless = task.progress(), False
    with progress.track("moving", seen.total, "letters") as advance:
        reported = 0
        while True:
            advance(seen.moved - reported)
            reported = seen.moved
            if not seen.running:
                break
            if seen.total and seen.moved > seen.total and seen.status == "RUNNING":
                endless = True
                task.cancel()
            time.sleep(POLL_INTERVAL)
            seen = task.progress()
    if seen.failure or seen.status == "FAILED":
        reason = seen.failure or seen.status
        raise CliError(
            f"SQS stopped the redrive after {counted(seen.moved, 'dead letter')}: {reason}"
        )
    return Result(seen.moved, endless=endless)


class MoveProgress(NamedTuple):
    """Progress of a task of SQS."""

    status: str
    moved: int
    total: int
    """Number of letters when the task began."""
    failure: str = ""

    @property
    def running(self) -> bool:
        """Whether the task is still moving letters."""
        return self.status in {"RUNNING", "CANCELLING"}


class MoveTask:
    """A redrive by SQS, which moves all letters without a consumer.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html
    """

    def __init__(self, client: SQSClient, source_arn: str) -> None:
        self._client = client
        self._source = source_arn
        self._handle = ""

    def start(self, destination_arn: str, rate: int | None) -> str | None:
        """Start the task, with at most `rate` (1-500) letters per second.

        Return `None`, or the error code of SQS if such tasks are not available.

        Raises:
            CliError: a task is running already.
            ClientError: the task cannot be started.
        """
        more: dict[str, Any] = {} if rate is None else {"MaxNumberOfMessagesPerSecond": rate}
        try:
            answer = self._client.start_message_move_task(
                SourceArn=self._source, DestinationArn=destination_arn, **more
            )
        except ClientError as error:
            code = error_code(error)
            if code in _REFUSED and self._is_running():
                raise CliError(
                    "a redrive of this queue is already running", "wait until it has ended"
                ) from error
            if code in _REFUSED | _ABSENT:
                return code
            raise
        self._handle = answer["TaskHandle"]
        return None

    def _is_running(self) -> bool:
        """Ask SQS whether a task is running; the error code alone may have other causes."""
        try:
            return self.progress().running
        except (ClientError, BotoCoreError):
            return False

    def progress(self) -> MoveProgress:
        """Return the progress of the task."""
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
        """Cancel the task; return SQS's error code if it continues. Moved letters stay moved."""
        try:
            self._client.cancel_message_move_task(TaskHandle=self._handle)
        except (ClientError, BotoCoreError) as error:
            code = error_code(error)
            return None if code in _ENDED else code
        return None
