"""JSON Schemas (2020-12) of commands and events, derived from their definitions."""

from __future__ import annotations

from datetime import datetime
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from application.messages import descriptions
from application.messages.attributes import ATTRIBUTES, JSON_TYPE, SPEC_VERSION, attributes_adapter
from application.messages.events import SEQUENCE_DIGITS, SOURCE
from application.messages.fields import MAX_INTEGER, ROLE_PATTERN, UUID_PATTERN, data_adapter
from application.messages.samples import (
    command_definition,
    command_examples,
    event_example,
    field_names,
    names_by_email,
)
from domain.commands import Command, UpdateProfile
from domain.events import EVENTS, PERSONAL_FIELDS, Event
from domain.values import MAX_ADDRESS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_STRING = {"type": "string"}
_UUID = {"type": "string", "format": "uuid", "pattern": UUID_PATTERN}
_TIME = {"type": "string", "format": "date-time"}
_EMAIL = {"type": "string", "format": "email", "maxLength": MAX_ADDRESS}
_ROLE = {"type": "string", "pattern": ROLE_PATTERN}
_EVENT_TEXTS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(PERSONAL_FIELDS, _EMAIL),
    "role": _ROLE,
    "roles": _ROLE,
    "changed": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,49}$"},
    "command_type": {
        "type": "string",
        "pattern": r"^biome\.user\.[A-Z][A-Za-z0-9]*\.v[1-9][0-9]*$",
    },
    "code": {"type": "string", "pattern": "^[A-Z][A-Za-z]*$"},
}
_EXTENSION = {"type": ["string", "integer", "boolean", "null"]}
_EXTENSION_NAME = {"pattern": "^[a-z0-9]{1,64}$"}


def command_schema(kind: str) -> dict[str, Any]:
    """Give the schema of a command's CloudEvent.

    Which roles exist is a setting, so a role is described by its form.

    Args:
        kind: the message type, e.g. `biome.user.RegisterUser.v1`; former versions have one too.

    Raises:
        KeyError: there is no such command.
    """
    command = command_definition(kind)
    attributes = _command_attributes() | {"data": _command_data(command, kind)}
    required = ["specversion", "id", "source", "type"]
    if attributes["data"].get("required") or command is UpdateProfile:
        required.append("data")
    described = {
        name: descriptions.command_attribute(name).annotate(schema)
        for name, schema in attributes.items()
    }
    described["data"].pop("examples")
    schema = _envelope(kind, command.__doc__, described, required) | _who(command)
    return schema | {"examples": command_examples(kind)}


def event_schema(kind: str) -> dict[str, Any]:
    """Give the schema of an event's CloudEvent.

    Fields may be added in a version: subscribers ignore what they do not know.

    Raises:
        KeyError: there is no such event.
    """
    event = EVENTS[kind]
    commands = _command_attributes()
    properties: dict[str, Any] = {
        "id": _UUID,
        "source": {"const": SOURCE},
        "subject": _UUID,
        "time": _TIME,
        "datacontenttype": {"const": JSON_TYPE},
        "sequence": {"type": "string", "pattern": f"^[0-9]{{{SEQUENCE_DIGITS}}}$"},
        "causationid": _UUID,
        **{name: commands[name] for name in ("correlationid", "traceparent", "tracestate")},
        "data": _event_data(event, kind),
    }
    required = ["specversion", "id", "source", "type", "time", "causationid", "data"]
    if event.category != "command":
        required += ["subject", "sequence"]
    described = {
        name: descriptions.event_attribute(name).annotate(schema)
        for name, schema in properties.items()
    }
    described["data"].pop("examples")
    schema = _envelope(kind, event.__doc__, described, required)
    return schema | {"examples": [event_example(kind)]}


def _envelope(
    kind: str, description: str | None, properties: dict[str, Any], required: list[str]
) -> dict[str, Any]:
    own = {"specversion": {"const": SPEC_VERSION}, "type": {"const": kind}}
    described = {
        name: {"description": descriptions.command_attribute(name).text, **schema}
        for name, schema in own.items()
    }
    return {
        "$schema": DIALECT,
        "$id": f"urn:biome:user-worker:schema:{kind}",
        "title": kind,
        "description": description,
        "type": "object",
        "properties": described | properties,
        "required": required,
        "propertyNames": _EXTENSION_NAME,
        "additionalProperties": _EXTENSION,
    }


def _command_attributes() -> dict[str, Any]:
    properties = attributes_adapter().json_schema()["properties"]
    return {name: _untitled(properties[name]) for name in ATTRIBUTES}


def _command_data(command: type[Command], kind: str) -> dict[str, Any]:
    data: dict[str, Any] = _untitled(data_adapter(command).json_schema())
    name = kind.split(".")[2]
    for field, schema in data["properties"].items():
        data["properties"][field] = descriptions.field(name, field).annotate(_untitled(schema))
    if command is UpdateProfile:
        data["minProperties"] = 1
    return data


def _untitled(schema: dict[str, Any]) -> dict[str, Any]:
    """Leave out the title, which pydantic makes of the name."""
    return {key: value for key, value in schema.items() if key != "title"}


def _who(command: type[Command]) -> dict[str, Any]:
    """Say how the user is named: by subject, by address, or not yet."""
    if command.creates_user:
        return {}
    by_subject = {"required": ["subject"]}
    if not names_by_email(command):
        return {"allOf": [by_subject]}
    by_email = {"properties": {"data": {"required": ["email"]}}, "required": ["data"]}
    return {"oneOf": [by_subject, by_email]}


def _event_data(event: type[Event], kind: str) -> dict[str, Any]:
    hints, names = get_type_hints(event), field_names(event)
    properties = {}
    for name in names:
        words = descriptions.event_field(kind.split(".")[2], name, personal=name in PERSONAL_FIELDS)
        properties[name] = words.annotate(_event_field(name, hints[name]))
    return {"type": "object", "properties": properties, "required": names}


def _event_field(name: str, hint: Any) -> dict[str, Any]:
    if get_origin(hint) is tuple:
        return {"type": "array", "items": _event_field(name, get_args(hint)[0])}
    if NoneType in get_args(hint):
        inner = next(part for part in get_args(hint) if part is not NoneType)
        return {"anyOf": [_event_field(name, inner), {"type": "null"}]}
    if hint is datetime:
        return _TIME
    if hint is int:
        return {"type": "integer", "minimum": 0, "maximum": MAX_INTEGER}
    return _UUID if name.endswith("_id") else _EVENT_TEXTS.get(name, _STRING)
