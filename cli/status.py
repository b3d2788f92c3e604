"""`user-worker status`: is everything there, and does anything wait?"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from application.outbox import OutboxStatus
from cli import composition, output
from domain.values import render_time
from worker.errors import CliError, ExitCode

DEPTHS = {
    "visible": "ApproximateNumberOfMessages",
    "in_flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}


def show_status(*, as_json: bool) -> int:
    """Print what there is; give the exit code."""
    aws = composition.aws()
    facts = gather(aws)
    if as_json:
        sys.stdout.write(output.json_line(facts) + "\n")
    else:
        output.stdout().print(output.pairs(_lines(facts)))
    if facts["missing"]:
        advice = "create them with `user-worker provision`, or correct settings or region"
        if aws.settings.env == "prod":  # where that refuses
            advice = "correct settings or region; `user-worker doctor` says which"
        raise CliError(f"missing: {', '.join(facts['missing'])}", advice)
    return ExitCode.OK


def gather(aws: composition.Aws) -> dict[str, Any]:
    """Look at everything; what is missing is null, and named under `missing`.

    So is a priority queue where none is set; it has no name then.
    """
    settings = aws.settings
    first = settings.priority_queue
    in_memory = settings.repository == "memory"
    found: dict[str, Any] = {
        "region": aws.sqs.meta.region_name,
        "endpoint": aws.sqs.meta.endpoint_url,
        "priority_queue": _found(lambda: depths(aws, aws.queue_url(first))) if first else None,
        "command_queue": _found(lambda: depths(aws, aws.command_queue_url)),
        "dead_letters": _found(lambda: depths(aws, aws.dead_letter_queue_url)),
        "topic": _found(lambda: _topic(aws)),
        "table": "in the worker's memory" if in_memory else _found(lambda: _table(aws)),
        "outbox": None,
    }
    names = {"priority_queue": f"queue {first}"} if first else {}
    names |= {
        "command_queue": f"queue {settings.command_queue}",
        "dead_letters": f"queue {settings.dead_letter_queue}",
        "topic": f"topic {settings.events_topic}",
        "table": f"table {settings.table}",
    }
    found["missing"] = [name for key, name in names.items() if found[key] is None]
    if found["table"] is not None and not in_memory:
        found["outbox"] = _outbox(aws.outbox.status())
    found["names"] = names
    return found


def depths(aws: composition.Aws, url: str) -> dict[str, int]:
    """Count a queue's messages: to be received, being worked on, and waiting for their time."""
    answer = aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    attributes: dict[str, str] = dict(answer["Attributes"].items())
    return {name: int(attributes.get(key, 0)) for name, key in DEPTHS.items()}


def _found(look: Callable[[], Any]) -> Any:
    try:
        return look()
    except CliError:
        return None


def _topic(aws: composition.Aws) -> dict[str, int]:
    attributes = aws.sns.get_topic_attributes(TopicArn=aws.topic_arn)["Attributes"]
    return {"subscriptions": int(attributes.get("SubscriptionsConfirmed", 0))}


def _table(aws: composition.Aws) -> str:
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
    }


def _lines(facts: dict[str, Any]) -> dict[str, object]:
    lines: dict[str, object] = {"AWS": f"{facts['endpoint']} ({facts['region']})"}
    names = facts["names"]
    for queue in ("priority_queue", "command_queue"):
        if queue in names:
            lines[names[queue]] = _queue_text(facts[queue], worrying=False)
    lines[names["dead_letters"]] = _queue_text(facts["dead_letters"], worrying=True)
    topic = facts["topic"]
    lines[names["topic"]] = _MISSING if topic is None else f"{topic['subscriptions']} subscriptions"
    lines[names["table"]] = _MISSING if facts["table"] is None else facts["table"]
    if facts["outbox"] is not None:
        lines["outbox"] = _outbox_text(facts["outbox"])
    return lines


_MISSING = Text("missing", style="red")


def _queue_text(counts: dict[str, int] | None, *, worrying: bool) -> Text:
    if counts is None:
        return _MISSING
    text = f"{counts['visible']} waiting, {counts['in_flight']} in flight"
    if counts["delayed"]:
        text += f", {counts['delayed']} delayed"
    return Text(text, style="yellow" if worrying and any(counts.values()) else "")


def _outbox_text(outbox: dict[str, Any]) -> Text:
    text = f"{outbox['pending']} pending"
    if outbox["oldest"]:
        text += f", the oldest for {outbox['oldest_seconds']:g} s"
    if outbox["scheduled"]:
        text += f", {outbox['scheduled']} final scrubs to come"
    if outbox["parked"]:
        reasons = sorted({output.printable(entry["reason"]) for entry in outbox["parked"]})
        text += f", {len(outbox['parked'])} parked ({'; '.join(reasons)})"
    if outbox["unreadable"]:
        text += f", {outbox['unreadable']} that cannot be read"
    return Text(text, style="yellow" if outbox["parked"] or outbox["unreadable"] else "")
