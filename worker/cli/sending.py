"""Sends commands to the queue, ten a call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from uuid import uuid4

from worker.cli.command_input import Outgoing
from worker.cli.errors import CliError, UsageError
from worker.settings import FIFO_SUFFIX

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

MAX_ENTRIES = 10
MAX_BYTES = 262_144
"""Of one SendMessageBatch in all, which every queue takes."""


def send(
    client: SQSClient, queue_url: str, outgoing: Sequence[Outgoing], group: str | None = None
) -> list[str]:
    """Send checked commands; see `send_bodies`. The group is the user's, or the one given."""
    bodies = [(each.body, group or each.group) for each in outgoing]
    return send_bodies(client, queue_url, bodies, grouped=group is not None)


def send_bodies(
    client: SQSClient,
    queue_url: str,
    messages: Sequence[tuple[str, str]],
    *,
    grouped: bool = False,
) -> list[str]:
    """Send bodies, each with its group; give the SQS message ids, in the same order.

    The group counts on FIFO queues, and on standard ones (fair queues) if `grouped`. The
    deduplication id is fresh: a repeated command is for the worker to recognise.

    Raises:
        CliError: SQS took some and refused others; says how many.
    """
    fifo = queue_url.endswith(FIFO_SUFFIX)
    message_ids: list[str] = []
    for chunk in _chunks(messages):
        entries: list[SendMessageBatchRequestEntryTypeDef] = []
        for index, (body, group) in enumerate(chunk):
            entry: SendMessageBatchRequestEntryTypeDef = {"Id": str(index), "MessageBody": body}
            if fifo or grouped:
                entry["MessageGroupId"] = group
            if fifo:
                entry["MessageDeduplicationId"] = str(uuid4())
            entries.append(entry)
        answer = client.send_message_batch(QueueUrl=queue_url, Entries=entries)
        taken = {row["Id"]: row["MessageId"] for row in answer.get("Successful", [])}
        message_ids += [taken[entry["Id"]] for entry in entries if entry["Id"] in taken]
        if failed := answer.get("Failed"):
            raise CliError(
                f"SQS refused {len(failed)} commands with {failed[0].get('Code')}, "
                f"after {len(message_ids)} were sent",
                "send them again with the same ids: none is done twice",
            )
    return message_ids


def _chunks(messages: Sequence[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    chunk: list[tuple[str, str]] = []
    size = 0
    for message in messages:
        length = len(message[0].encode())
        if length > MAX_BYTES:
            raise UsageError("a command is larger than 256 KiB", "shorten its data")
        if chunk and (len(chunk) == MAX_ENTRIES or size + length > MAX_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(message)
        size += length
    if chunk:
        yield chunk
