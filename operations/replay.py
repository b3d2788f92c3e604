"""Send stored events again, to one queue and in the form in which SNS delivers them raw."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any, Final

from adapters.dynamodb import records
from adapters.dynamodb.attributes import render_timestamp
from adapters.dynamodb.calls import calling
from adapters.dynamodb.projection import OF_OPERATORS, projection
from adapters.sns.publisher import filter_attributes
from adapters.sqs.sending import BatchSender, QueueMessage, SendReport
from application.messages.events import render_events
from application.ports import EventMessage
from application.repository import Outcome
from operations.printable import counted
from operations.sample_story import sample_story
from worker.connections import Aws
from worker.errors import CliError, ExitCode

PAGE: Final = 100
"""Outcomes of one read of a user's history, and events of one step of sending."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which stored events to send again."""

    user_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    types: Collection[str] = ()
    """Message types; all, if empty."""
    personal: bool = False
    """Whether to send what the personal topic carries, instead of the ordinary one."""

    def covers(self, outcome: Outcome) -> bool:
        """Return True if an outcome was recorded in the time range."""
        after = self.since is None or outcome.recorded_at >= self.since
        return after and (self.until is None or outcome.recorded_at < self.until)

    def messages_of(self, outcome: Outcome) -> Iterator[EventMessage]:
        """Yield the events of an outcome as the chosen topic carries them."""
        for message in render_events(outcome):
            if self.types and message.type not in self.types:
                continue
            if not self.personal:
                yield message
            elif message.complete_body is not None:
                yield replace(message, body=message.complete_body)


def stored_events(aws: Aws, wanted: Selection) -> Iterator[EventMessage]:
    """Yield stored events: those of a user in order, or those of a time range in any order.

    A time range reads the whole table. Subscribers order the events of a user by `sequence`.

    Raises:
        StoreUnavailableError: a read failed.
        MalformedItemError: a stored outcome of the user cannot be read.
    """
    outcomes = _of_user(aws, wanted.user_id) if wanted.user_id else _of_all(aws, wanted)
    for outcome in outcomes:
        if wanted.covers(outcome):
            yield from wanted.messages_of(outcome)


def sample_events(wanted: Selection) -> Iterator[EventMessage]:
    """Yield the events of an invented user, another one each time.

    A subscriber therefore processes them again.
    """
    for outcome in sample_story():
        yield from wanted.messages_of(outcome)


def _of_user(aws: Aws, user_id: str) -> Iterable[Outcome]:
    newest_first: list[Outcome] = []
    while page := aws.repository.history(user_id, PAGE, newest_first[-1] if newest_first else None):
        newest_first += page
    return reversed(newest_first)


def _of_all(aws: Aws, wanted: Selection) -> Iterator[Outcome]:
    aws.require_shared_store()
    requested = projection(OF_OPERATORS)
    aliases = {name: alias for alias, name in requested["ExpressionAttributeNames"].items()}
    request: dict[str, Any] = {
        **requested,
        "TableName": aws.settings.table,
        "FilterExpression": f"begins_with({aliases['sk']}, :command)",
        "ExpressionAttributeValues": {":command": {"S": "COMMAND#"}},
    }
    if wanted.since is not None:
        request["FilterExpression"] += f" AND {aliases['recorded_at']} >= :since"
        request["ExpressionAttributeValues"][":since"] = {"S": render_timestamp(wanted.since)}
    while True:
        with calling("Scan"):
            page = aws.dynamodb.scan(**request)
            found, last = page["Items"], page.get("LastEvaluatedKey")
        for item in found:
            yield records.parse_outcome(item)
        if not last:
            return
        request["ExclusiveStartKey"] = last


def send_events(aws: Aws, queue: str, messages: Iterable[EventMessage]) -> int:
    """Send events to a queue in order, and return their number.

    Raises:
        CliError: the queue does not exist, or an event could not be sent; states how many were.
    """
    sender = BatchSender(aws.sqs, aws.queue_url(queue))
    sent, rest = 0, iter(messages)
    while chunk := [*islice(rest, PAGE)]:
        report = sender.send(
            [QueueMessage(each.body, each.user_id, filter_attributes(each)) for each in chunk]
        )
        sent += _sent(report, sent)
    return sent


def _sent(report: SendReport, before: int) -> int:
    if report.code is not None:
        sent = before + len(report.message_ids)
        raise CliError(
            f"SQS refused an event: {report.code}; {counted(sent, 'event')} sent",
            "run the command again: subscribers ignore events that they know",
            ExitCode.ENVIRONMENT,
        ) from report.error
    return len(report.message_ids)
