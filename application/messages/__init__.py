"""Parse messages of any accepted form into commands, and render outcomes as events.

Every command and event is defined once, in the domain; validation, fingerprints and JSON
Schemas are derived from those definitions.
"""

from application.messages.commands import MessageParser, partition_key, render_command
from application.messages.errors import MalformedCode, MalformedMessageError, UnknownTypeError
from application.messages.events import render_dead_lettered, render_events
from application.messages.redaction import Redacted, Redactor, read_attributes, shown_attribute
from application.messages.schema import command_schema, event_schema

__all__ = [
    "MalformedCode",
    "MalformedMessageError",
    "MessageParser",
    "Redacted",
    "Redactor",
    "UnknownTypeError",
    "command_schema",
    "event_schema",
    "partition_key",
    "read_attributes",
    "render_command",
    "render_dead_lettered",
    "render_events",
    "shown_attribute",
]
