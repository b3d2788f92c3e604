"""Parse messages of any accepted form into commands, and render outcomes as events.

Every command and event is defined once, in the domain; validation, fingerprints and JSON
Schemas are derived from those definitions.
"""

from application.messages.commands import MessageParser, partition_key, render_command
from application.messages.errors import MalformedCode, MalformedMessageError, UnknownTypeError
from application.messages.events import render_events
from application.messages.redaction import UNREADABLE, redact
from application.messages.schema import command_schema, event_schema

__all__ = [
    "UNREADABLE",
    "MalformedCode",
    "MalformedMessageError",
    "MessageParser",
    "UnknownTypeError",
    "command_schema",
    "event_schema",
    "partition_key",
    "redact",
    "render_command",
    "render_events",
]
