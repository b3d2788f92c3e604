"""Read the state of queues, topics, table and outbox."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from application.outbox import OutboxStatus
from domain.values import render_time
from worker.cli_errors import is_denial
from worker.connections import Aws
from worker.errors import CliError

DEPTHS = {
    "visible": "ApproximateNumberOfMessages",
    "in_flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}


def read_status(aws: Aws, entries: int | None = None) -> dict[str, Any]:
    """Return the state of each resource; a missing one is null, and listed under `missing`.

    With `entries`, at most so many entries of each shard of the outbox are counted.

    `command_queues` has the depth of each queue by name, in the order of the settings.
    """
    settings = aws.settings
    in_memory = settings.repository == "memory"
    queues = {name: _found(partial(_depths_of, aws, name)) for name in settings.queues}
    found: dict[str, Any] = {
        "region": aws.sqs.meta.region_name,
        "endpoint": aws.sqs.meta.endpoint_url,
        "command_queues": queues,
        "dead_letters": _found(lambda: queue_depths(aws, aws.dead_letter_queue_url)),
        "quarantine": _quarantine(aws),
        "topic": _found(lambda: _topic(aws, aws.topic_arn)),
        "personal_topic": _found(lambda: _topic(aws, aws.personal_topic_arn)),
        "table": "in the worker's memory" if in_memory else _found(lambda: _table(aws)),
        "outbox": None,
    }
    names = {
        "dead_letters": f"queue {settings.dead_letter_queue}",
        "quarantine": f"queue {settings.quarantine_queue}",
        "topic": f"topic {settings.events_topic}",
        "personal_topic": f"topic {settings.personal_topic}",
        "table": f"table {settings.table}",
    }
    found["missing"] = [f"queue {name}" for name, depths in queues.items() if depths is None]
    found["missing"] += [name for key, name in names.items() if found[key] is None]
    if found["table"] is not None and not in_memory:
        found["outbox"] = _outbox(aws.outbox.status(most=entries))
    found["names"] = names
    return found


def _depths_of(aws: Aws, name: str) -> dict[str, int]:
    return queue_depths(aws, aws.queue_url(name))


def queue_depths(aws: Aws, url: str) -> dict[str, int]:
    """Return the number of a queue's messages: visible, in flight and delayed."""
    answer = aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    attributes: dict[str, str] = dict(answer["Attributes"].items())
    return {name: int(attributes.get(key, 0)) for name, key in DEPTHS.items()}


def _quarantine(aws: Aws) -> dict[str, int] | str | None:
    """Return the depths of the quarantine queue, or "access denied": few roles may look at it."""
    try:
        return queue_depths(aws, aws.queue_url(aws.settings.quarantine_queue))
    except CliError:
        return None
    except ClientError as error:
        if is_denial(error):
            return "access denied"
        raise


def _found(look: Callable[[], Any]) -> Any:
    try:
        return look()
    except CliError:
        return None


def _topic(aws: Aws, arn: str) -> dict[str, int]:
    attributes = aws.sns.get_topic_attributes(TopicArn=arn)["Attributes"]
    return {"subscriptions": int(attributes.get("SubscriptionsConfirmed", 0))}


def _table(aws: Aws) -> str:
    aws.require_table()
    table = aws.dynamodb.describe_table(TableName=aws.settings.table)["Table"]
    return table.get("TableStatus", "unknown")


def _outbox(status: OutboxStatus) -> dict[str, Any]:
    return {
        "pending": status.pending,
        "oldest": None if status.oldest is None else render_time(status.oldest),
        "oldest_seconds": None
        if status.oldest is None
        else round((datetime.now(UTC) - status.oldest).total_seconds(), 1),
        "parked": [
            {"recorded_at": render_time(p.recorded_at), "reason": p.parked_because}
            for p in status.parked
        ],
        "unreadable": status.unreadable,
        "scheduled": status.scheduled,
        "complete": status.complete,
    }
