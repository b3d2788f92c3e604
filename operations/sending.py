"""Send commands to the queue, ten per call."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from adapters.aws.batching import MAX_CALL_BYTES
from adapters.sqs.sending import BatchSender, QueueMessage, SendReport
from application.queue_port import FIFO_SUFFIX
from worker.errors import CliError, UsageError
from worker.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


def require_served(settings: Settings, queue: str | None) -> str:
    """Return the queue to send to: the one given, or else the command queue.

    Raises:
        UsageError: the worker does not serve the queue, so a command would wait there forever.
    """
    if queue is None:
        return settings.command_queue
    if queue not in settings.queues:
        similar = difflib.get_close_matches(queue, settings.queues, 1)
        advice = f"did you mean {similar[0]}?" if similar else "choose one of the settings"
        raise UsageError(
            f"queue {queue} is not a command queue of the settings ({', '.join(settings.queues)})",
            advice,
        )
    return queue


def send_bodies(
    client: SQSClient,
    queue_url: str,
    messages: Sequence[tuple[str, str]],
    *,
    grouped: bool = False,
    report: SendReport | None = None,
) -> list[str]:
    """Send bodies, each with its group, and return the SQS message ids in the same order.

    Groups are sent to FIFO queues, and to standard queues (fair queues) if `grouped`. The
    deduplication id is always new: the worker detects repeated commands.

    Args:
        client: the SQS client.
        queue_url: URL of the queue.
        messages: bodies and groups.
        grouped: whether to send groups to a standard queue, too.
        report: updated after each call, for a caller that needs it after an exception.

    Raises:
        UsageError: a body exceeds the size limit of SQS; nothing was sent.
        CliError: some bodies were not sent; the message says how many were.
        ClientError: the first call failed as a whole (or a BotoCoreError).
    """
    if any(len(body.encode()) > MAX_CALL_BYTES for body, _ in messages):
        raise UsageError("a command is larger than 256 KiB", "shorten its data")
    grouped = grouped or queue_url.endswith(FIFO_SUFFIX)
    report = BatchSender(client, queue_url).send(
        [QueueMessage(body, group if grouped else None) for body, group in messages], report
    )
    error = report.error
    if not report.message_ids and isinstance(error, (BotoCoreError, ClientError)):
        raise error
    if report.code is not None:
        who = "SQS rejected commands:" if error is None else "sending failed:"
        raise CliError(
            f"{who} {report.code}, after {len(report.message_ids)} of {len(messages)} were sent",
            "send them again with the same ids: none is processed twice",
        ) from error
    return [report.message_ids[place] for place in range(len(messages))]
