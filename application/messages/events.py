"""Render the events of a recorded outcome as messages for the topic."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from application.messages.encoding import compact
from application.messages.redaction import CommandAttributes
from application.ports import EventMessage
from application.repository import Outcome
from domain.events import CommandDeadLettered, RecordedEvent
from domain.values import render_time

SOURCE = "urn:biome:user-worker"
SEQUENCE_DIGITS = 20  # so that sequences compare as strings


def event_id(outcome: Outcome, index: int) -> str:
    """Return the id of an outcome's event, which is the same each time it is published.

    UUIDv5 of `<command id>/<index>` in the namespace of the user's id, or of the command's
    if there is no user.
    """
    namespace = UUID(outcome.user_id or outcome.command_id)
    return str(uuid5(namespace, f"{outcome.command_id}/{index}"))


def render_events(outcome: Outcome) -> list[EventMessage]:
    """Return an outcome's events as CloudEvents in JSON.

    An event with personal fields has two bodies: one without these fields, and the complete one.
    """
    return [_render(outcome, index, event) for index, event in enumerate(outcome.events)]


def render_dead_lettered(
    command: CommandAttributes, code: str, message_id: str, now: datetime
) -> EventMessage:
    """Return the event of a command that is dead-lettered, as a CloudEvent in JSON.

    Its id is the same each time it is published for the message: UUIDv5 of `dead/<message id>` in
    the namespace of the command's id.
    """
    event = CommandDeadLettered(command.command_id, command.type, code)
    identity = str(uuid5(UUID(command.command_id), f"dead/{message_id}"))
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": identity,
        "source": SOURCE,
        "type": event.type,
        "subject": command.user_id,
        "time": render_time(now),
        "datacontenttype": "application/json",
        "causationid": command.command_id,
        "correlationid": command.correlation_id,
        "actor": command.actor,
        "traceparent": command.traceparent,
        "tracestate": command.tracestate,
        "data": event.data(),
    }
    return EventMessage(
        event_id=identity,
        user_id=command.user_id or command.command_id,
        body=compact({name: value for name, value in attributes.items() if value is not None}),
        type=event.type,
        category=event.category,
        command_source=command.source,
    )


def _render(outcome: Outcome, index: int, event: RecordedEvent) -> EventMessage:
    identity = event_id(outcome, index)
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": identity,
        "source": SOURCE,
        "type": event.type,
        "subject": outcome.user_id,
        "time": render_time(outcome.recorded_at),
        "datacontenttype": "application/json",
        "sequence": None if event.sequence is None else f"{event.sequence:0{SEQUENCE_DIGITS}d}",
        "causationid": outcome.command_id,
        "correlationid": outcome.correlation_id,
        "actor": outcome.actor,
        "traceparent": outcome.traceparent,
        "tracestate": outcome.tracestate,
        "data": event.data,
    }
    present = {name: value for name, value in attributes.items() if value is not None}
    complete_body = None
    if event.is_personal:
        complete_body = compact(present)
        present["data"] = event.without_personal_data().data
    return EventMessage(
        event_id=identity,
        user_id=outcome.user_id or outcome.command_id,
        body=compact(present),
        type=event.type,
        category=event.category,
        command_source=outcome.source,
        complete_body=complete_body,
    )
