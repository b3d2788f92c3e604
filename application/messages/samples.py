"""Example messages for the contracts, made of the examples of the fields.

The renderers of real messages write them.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from application.messages.commands import render_command
from application.messages.descriptions import (
    COMMAND_ATTRIBUTES,
    EVENT_ATTRIBUTES,
    EXAMPLE_COMMAND,
    EXAMPLE_SOURCE,
    EXAMPLE_USER,
)
from application.messages.events import render_events
from application.messages.upcasting import FORMER_COMMANDS
from application.repository import Outcome, Status
from domain.commands import COMMANDS, Command
from domain.events import EVENTS, RecordedEvent
from domain.fields import example_of

_ASKED: Final = datetime(2026, 11, 22, 10, tzinfo=UTC)
_DECIDED: Final = _ASKED + timedelta(milliseconds=412)


def command_definition(kind: str) -> type[Command]:
    """Return the class of a command's message type, of the newest version or a former one.

    Raises:
        KeyError: unknown command.
    """
    former = FORMER_COMMANDS.get(kind)
    return former.definition if former else COMMANDS[kind]


def command_examples(kind: str) -> list[dict[str, Any]]:
    """Return valid messages of a command: by subject, and by address if the command allows it."""
    command = command_definition(kind)
    data = example_of(command)
    if not command.may_name_by_email():
        return [_command(kind, data, None if command.creates_user else EXAMPLE_USER)]
    by_subject = {name: value for name, value in data.items() if name != "email"}
    return [_command(kind, by_subject, EXAMPLE_USER), _command(kind, data, None)]


def _command(kind: str, data: dict[str, Any], user_id: str | None) -> dict[str, Any]:
    body = render_command(
        kind,
        data,
        command_id=EXAMPLE_COMMAND,
        source=EXAMPLE_SOURCE,
        user_id=user_id,
        time=_ASKED,
        correlationid=COMMAND_ATTRIBUTES["correlationid"].example,
    )
    message: dict[str, Any] = json.loads(body)
    return message


def event_examples(kind: str) -> list[dict[str, Any]]:
    """Return messages of an event: complete and, if they differ, as on the ordinary topic.

    Raises:
        KeyError: unknown event.
    """
    event = EVENTS[kind]
    data = example_of(event)
    sequence = None if event.category == "command" else 7
    outcome = Outcome(
        command_id=EXAMPLE_COMMAND,
        command_type="",
        user_id=EXAMPLE_USER,
        by_email=False,
        fingerprint="",
        status=Status.ACCEPTED,
        code=None,
        events=(RecordedEvent(kind, event.category, sequence, data),),
        version=7,
        recorded_at=_DECIDED,
        expires_at=_DECIDED,
        source=EXAMPLE_SOURCE,
        correlation_id=EVENT_ATTRIBUTES["correlationid"].example,
    )
    (message,) = render_events(outcome)
    bodies = filter(None, [message.complete_body, message.body])
    return [json.loads(body) for body in bodies]
