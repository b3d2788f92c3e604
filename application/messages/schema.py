"""JSON Schemas (2020-12) of commands and events, derived from their definitions."""

from __future__ import annotations

from typing import Any

from application.messages.attributes import ATTRIBUTES, JSON_TYPE, SPEC_VERSION, attributes_adapter
from application.messages.descriptions import COMMAND_ATTRIBUTES, EVENT_ATTRIBUTES, Description
from application.messages.events import SEQUENCE_DIGITS, SOURCE
from application.messages.fields import data_adapter
from application.messages.samples import (
    command_definition,
    command_examples,
    event_examples,
)
from domain.commands import Command
from domain.events import EVENTS, Event
from domain.fields import ID, TIME, fields_of

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PERSONAL = (
    " Null on the ordinary topic. Present on the personal topic, unless the user was erased before "
    "the event was published."
)
_EXTENSION = {"type": ["string", "integer", "boolean", "null"]}
_EXTENSION_NAME = {"pattern": "^[a-z0-9]{1,64}$"}


def command_schema(kind: str) -> dict[str, Any]:
    """Return the schema of a command's CloudEvent.

    Which roles exist is a setting, so the schema has only the form of a role.

    Args:
        kind: the message type, e.g. `biome.user.RegisterUser.v1`; former versions too.

    Raises:
        KeyError: unknown command.
    """
    command = command_definition(kind)
    attributes = _command_attributes() | {"data": _command_data(command)}
    required = ["specversion", "id", "source", "type"]
    if attributes["data"].get("required") or command.needs_a_field:
        required.append("data")
    described = {
        name: COMMAND_ATTRIBUTES[name].annotate(schema) for name, schema in attributes.items()
    }
    described["data"].pop("examples")
    schema = _envelope(kind, command.__doc__, described, required) | _who(command)
    return schema | {"examples": command_examples(kind)}


def event_schema(kind: str) -> dict[str, Any]:
    """Return the schema of an event's CloudEvent.

    Fields may be added in a version: subscribers must ignore unknown fields.

    Raises:
        KeyError: unknown event.
    """
    event = EVENTS[kind]
    commands = _command_attributes()
    properties: dict[str, Any] = {
        "id": ID.schema(),
        "source": {"const": SOURCE},
        "subject": ID.schema(),
        "time": TIME.schema(),
        "datacontenttype": {"const": JSON_TYPE},
        "sequence": {"type": "string", "pattern": f"^[0-9]{{{SEQUENCE_DIGITS}}}$"},
        "causationid": ID.schema(),
        **{
            name: commands[name] for name in ("correlationid", "actor", "traceparent", "tracestate")
        },
        "data": _event_data(event),
    }
    required = ["specversion", "id", "source", "type", "time", "causationid", "data"]
    if event.category != "command":
        required += ["subject", "sequence"]
    described = {
        name: EVENT_ATTRIBUTES[name].annotate(schema) for name, schema in properties.items()
    }
    described["data"].pop("examples")
    schema = _envelope(kind, event.__doc__, described, required)
    return schema | {"examples": event_examples(kind)}


def _envelope(
    kind: str, description: str | None, properties: dict[str, Any], required: list[str]
) -> dict[str, Any]:
    own = {"specversion": {"const": SPEC_VERSION}, "type": {"const": kind}}
    described = {
        name: {"description": COMMAND_ATTRIBUTES[name].text, **schema}
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


def _command_data(command: type[Command]) -> dict[str, Any]:
    data: dict[str, Any] = _untitled(data_adapter(command).json_schema())
    for field in fields_of(command):
        schema = _untitled(data["properties"][field.name])
        described = Description(field.rule.description, field.rule.example)
        data["properties"][field.name] = described.annotate(schema)
    if command.needs_a_field:
        data["minProperties"] = 1
    return data


def _untitled(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without the title that pydantic derives from the name."""
    return {key: value for key, value in schema.items() if key != "title"}


def _who(command: type[Command]) -> dict[str, Any]:
    """Return what names the user: the subject, or the subject or the address."""
    if command.creates_user:
        return {}
    by_subject = {"required": ["subject"]}
    if not command.may_name_by_email():
        return {"allOf": [by_subject]}
    by_email = {"properties": {"data": {"required": ["email"]}}, "required": ["data"]}
    return {"oneOf": [by_subject, by_email]}


def _event_data(event: type[Event]) -> dict[str, Any]:
    properties = {}
    for field in fields_of(event):
        rule, schema = field.rule, field.rule.schema()
        if field.nullable:
            schema = {"anyOf": [schema, {"type": "null"}]}
        text = rule.description + (_PERSONAL if field.personal else "")
        properties[field.name] = Description(text, rule.example).annotate(schema)
    return {"type": "object", "properties": properties, "required": list(properties)}
