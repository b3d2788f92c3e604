"""JSON Schemas (2020-12) of commands and events, derived from their definitions."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from domain.commands import COMMANDS, Command, UpdateProfile
from domain.events import EVENTS, Event
from worker.messages.attributes import JSON_TYPE, SPEC_VERSION, attributes_adapter
from worker.messages.events import SEQUENCE_DIGITS, SOURCE
from worker.messages.fields import UUID_PATTERN, data_adapter

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_STRING = {"type": "string"}
_UUID = {"type": "string", "format": "uuid", "pattern": UUID_PATTERN}
_EXTENSION = {"type": ["string", "integer", "boolean", "null"]}
_EXTENSION_NAME = {"pattern": "^[a-z0-9]{1,64}$"}


def command_schema(kind: str) -> dict[str, Any]:
    """Give the schema of a command's CloudEvent.

    Which roles exist is a setting, so a role is described by its form.

    Args:
        kind: the message type, e.g. `biome.user.RegisterUser.v1`.

    Raises:
        KeyError: there is no such command.
    """
    command = COMMANDS[kind]
    attributes = attributes_adapter().json_schema()
    data = data_adapter(command).json_schema()
    data.pop("title", None)
    if command is UpdateProfile:
        data["minProperties"] = 1
    required = ["specversion", "id", "source", "type"]
    if data.get("required") or command is UpdateProfile:
        required.append("data")
    schema = _envelope(kind, command.__doc__, attributes["properties"] | {"data": data}, required)
    return schema | _who(command)


def event_schema(kind: str) -> dict[str, Any]:
    """Give the schema of an event's CloudEvent.

    Fields may be added in a version: subscribers ignore what they do not know.

    Raises:
        KeyError: there is no such event.
    """
    event = EVENTS[kind]
    properties: dict[str, Any] = {
        "id": _UUID,
        "source": {"const": SOURCE},
        "subject": _UUID,
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"const": JSON_TYPE},
        "sequence": {"type": "string", "pattern": f"^[0-9]{{{SEQUENCE_DIGITS}}}$"},
        "causationid": _UUID,
        "correlationid": _STRING,
        "traceparent": _STRING,
        "tracestate": _STRING,
        "data": _event_data(event),
    }
    required = ["specversion", "id", "source", "type", "time", "causationid", "data"]
    if event.category != "command":
        required += ["subject", "sequence"]
    return _envelope(kind, event.__doc__, properties, required)


def _envelope(
    kind: str, description: str | None, properties: dict[str, Any], required: list[str]
) -> dict[str, Any]:
    return {
        "$schema": DIALECT,
        "$id": f"urn:biome:user-worker:schema:{kind}",
        "title": kind,
        "description": description,
        "type": "object",
        "properties": {"specversion": {"const": SPEC_VERSION}, "type": {"const": kind}}
        | properties,
        "required": required,
        "propertyNames": _EXTENSION_NAME,
        "additionalProperties": _EXTENSION,
    }


def _who(command: type[Command]) -> dict[str, Any]:
    """Say how the user is named: by subject, by address, or not yet."""
    if command.creates_user:
        return {}
    by_subject = {"required": ["subject"]}
    if "email" not in (field.name for field in dataclasses.fields(command)):  # type: ignore[arg-type]
        return {"allOf": [by_subject]}
    by_email = {"properties": {"data": {"required": ["email"]}}, "required": ["data"]}
    return {"oneOf": [by_subject, by_email]}


def _event_data(event: type[Event]) -> dict[str, Any]:
    hints = get_type_hints(event)
    names = [field.name for field in dataclasses.fields(event)]  # type: ignore[arg-type]
    return {
        "type": "object",
        "properties": {name: _event_field(name, hints[name]) for name in names},
        "required": names,
    }


def _event_field(name: str, hint: Any) -> dict[str, Any]:
    if get_origin(hint) is tuple:
        return {"type": "array", "items": _event_field("", get_args(hint)[0])}
    if NoneType in get_args(hint):
        inner = next(part for part in get_args(hint) if part is not NoneType)
        return {"anyOf": [_event_field(name, inner), {"type": "null"}]}
    if hint is datetime:
        return {"type": "string", "format": "date-time"}
    if hint is int:
        return {"type": "integer"}
    return _UUID if name.endswith("_id") else _STRING
