"""Compare queues and table with what `provision` would create."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from adapters.dynamodb.provision import expires_by, table_differences
from adapters.dynamodb.table import TTL_ATTRIBUTE
from adapters.provision import queue_attributes, queue_differences
from application.queue_port import FIFO_SUFFIX
from application.wording import counted
from worker.bootstrap import resources
from worker.connections import Aws
from worker.resources.finding import Finding, fail, ok, warn
from worker.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TableDescriptionTypeDef, TimeToLiveDescriptionTypeDef

_SETTINGS = {
    "VisibilityTimeout": "USER_WORKER_VISIBILITY_TIMEOUT",
    "RedrivePolicy": "USER_WORKER_MAX_RECEIVES and USER_WORKER_DEAD_LETTER_QUEUE",
    "MessageRetentionPeriod": "14 days",
    "FifoQueue": "the name",
}
"""The setting that each queue attribute should match."""

USABLE = frozenset({"ACTIVE", "UPDATING"})
"""States in which a table or an index can be read and written."""


def attributes(aws: Aws, name: str) -> dict[str, str]:
    """Return a queue's attributes."""
    answer = aws.sqs.get_queue_attributes(QueueUrl=aws.queue_url(name), AttributeNames=["All"])
    return dict(answer["Attributes"].items())


def check_queue(
    settings: Settings, name: str, stored: Mapping[str, str], dead_arn: str | None
) -> Finding:
    """Compare a queue's attributes with those that `provision` would set."""
    check = f"queue {name}"
    arn = dead_arn or "" if name in settings.queues else None
    wanted = queue_attributes(resources(settings), name, arn)
    different = queue_differences(stored, wanted)
    if different:
        text = "; ".join(f"{each} differs from {_SETTINGS[each]}" for each in different)
        advice = "correct the queue, or the setting; on an emulator delete it and provision again"
        return fail(check, text, advice)
    waiting = stored.get("ApproximateNumberOfMessages", "0")
    if name == settings.dead_letter_queue and waiting != "0":
        letters = counted(int(waiting), "dead letter")
        return warn(check, letters, "run `user-worker dlq list` for the reasons")
    kind = "FIFO" if name.endswith(FIFO_SUFFIX) else "standard"
    return ok(check, f"{kind}, {waiting} waiting")


def check_table(name: str, description: TableDescriptionTypeDef) -> Finding:
    """Compare a table's keys and index with those that `provision` would create."""
    check = f"table {name}"
    different = table_differences(description)
    if different:
        text = (
            f"created for another purpose or by an older version: different {', '.join(different)}"
        )
        advice = "delete it and provision again, or name another in USER_WORKER_TABLE"
        return fail(check, text, advice)
    status = description.get("TableStatus", "of unknown status")
    if status not in USABLE:
        return warn(
            check, f"is {status} and cannot be used", "wait until it is ACTIVE, or check it in AWS"
        )
    for index in description.get("GlobalSecondaryIndexes", ()):
        if index.get("IndexStatus") not in {None, *USABLE}:
            text = f"index {index.get('IndexName')} is {index.get('IndexStatus')}"
            return warn(
                check, text, "wait until it is ACTIVE: reads by refresh token may find nothing"
            )
    return ok(check, f"{status}, keys and index as required")


def check_expiry(check: str, description: TimeToLiveDescriptionTypeDef) -> Iterator[Finding]:
    """Yield a warning if a table's items never expire."""
    if expires_by(description) != TTL_ATTRIBUTE:
        text = f"items do not expire by {TTL_ATTRIBUTE}"
        yield warn(check, text, "turn on time to live: without it, the table grows without limit")
