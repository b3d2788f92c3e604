from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator

from application.messages import (
    MalformedMessageError,
    command_schema,
    event_schema,
    render_events,
)
from application.messages.commands import command_data
from application.messages.schema import DIALECT
from domain.commands import COMMANDS, Command
from domain.events import EVENTS
from tests.unit.application.messages.examples import (
    EXAMPLES,
    PARSER,
    USER_ID,
    any_command,
    cloud_event,
    message,
    with_data,
)
from tests.unit.application.messages.test_events import OUTCOME

VALIDATORS = {kind: Draft202012Validator(command_schema(kind)) for kind in COMMANDS}


def accepts(name: str, event: dict[str, Any]) -> bool:
    """Return True if the schema of a command accepts an event."""
    return bool(VALIDATORS[f"biome.user.{name}.v1"].is_valid(event))


@pytest.mark.parametrize("kind", [*COMMANDS, *EVENTS])
def test_every_message_has_a_schema_of_the_named_dialect(kind: str) -> None:
    """The schema is valid, with its own id and a description."""
    schema = command_schema(kind) if kind in COMMANDS else event_schema(kind)

    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == DIALECT
    assert schema["$id"].endswith(kind)
    assert schema["description"]
    assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize("name", EXAMPLES)
def test_schema_and_parser_agree_on_the_examples(name: str) -> None:
    """Both accept the same examples, and neither accepts an unknown field."""
    event = cloud_event(name, partitionkey="x", expectedversion=2)

    assert _parses(json.dumps(event))
    assert accepts(name, event)
    assert not accepts(name, json.loads(with_data(name, nickname="x")))
    assert not accepts(name, cloud_event(name, data_base64="e30="))
    assert not accepts(name, cloud_event(name, correlation_id="x"))
    assert not accepts(name, cloud_event(name, type="biome.user.Other.v1"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_schema_and_parser_agree_on_what_is_required(name: str) -> None:
    """Each field and each attribute is omitted in turn, including the subject."""
    for field in EXAMPLES[name]:
        body = with_data(name, **{field: ...})
        assert accepts(name, json.loads(body)) == _parses(body), field
    for attribute in ("specversion", "id", "source", "type", "subject", "data", "time"):
        event = cloud_event(name, **{attribute: ...})
        assert accepts(name, event) == _parses(json.dumps(event)), attribute


@pytest.mark.parametrize("name", EXAMPLES)
def test_schema_and_parser_agree_on_types(name: str) -> None:
    """No number for a string, no string for a number, no object for either."""
    values: tuple[Any, ...] = (7, "7", True, {}, [], 1.5)
    for field in EXAMPLES[name]:
        for value in values:
            body = with_data(name, **{field: value})
            if not accepts(name, json.loads(body)):
                assert not _parses(body), (field, value)


def test_a_reset_is_by_subject_or_by_address() -> None:
    """One of the two, in the schema and in the parser."""
    data = EXAMPLES["ResetPassword"] | {"email": "ada@example.com"}

    assert accepts("ResetPassword", cloud_event("ResetPassword", subject=..., data=data))
    assert not accepts("ResetPassword", cloud_event("ResetPassword", data=data))
    assert not accepts("ResetPassword", cloud_event("ResetPassword", subject=...))


@settings(deadline=None)
@given(any_command)
def test_the_schema_accepts_every_command(command: Command) -> None:
    """A producer that validates before sending is never stopped by a stricter rule."""
    by_email = getattr(command, "email", None) is not None and not command.creates_user
    event = cloud_event() | {"type": command.type, "data": command_data(command)}
    if by_email:
        del event["subject"]
    else:
        event["subject"] = USER_ID

    assert list(VALIDATORS[command.type].iter_errors(event)) == []


def test_the_schemas_of_events_describe_what_is_published() -> None:
    """What the worker renders is valid, and an event without a sequence is not."""
    for rendered in render_events(OUTCOME):
        validator = Draft202012Validator(event_schema(rendered.type))
        body = json.loads(rendered.body)
        assert list(validator.iter_errors(body)) == []
        del body["sequence"]
        assert not validator.is_valid(body)


def _parses(body: str) -> bool:
    try:
        PARSER.parse(message(body))
    except MalformedMessageError:
        return False
    return True
