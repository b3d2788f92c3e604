from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from application.messages import MalformedMessageError, UnknownTypeError, render_command
from application.messages.commands import command_data
from domain.commands import Command, CommandEnvelope
from domain.fields import FieldDefinition, fields_of
from tests.unit.application.messages.examples import (
    COMMAND_ID,
    EXAMPLES,
    PARSER,
    USER_ID,
    any_command,
    cloud_event,
    message,
    notification,
)

LAW = settings(deadline=None)  # the machine may be busy with other tests
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def celery_message(event: dict[str, Any]) -> str:
    """Return an event as a minimal Celery message."""
    body = json.dumps([[], event["data"] | {"user_id": event.get("subject")}, {}])
    headers = {name: value for name, value in event.items() if name not in ("data", "type")}
    return json.dumps(
        {
            "body": base64.b64encode(body.encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers | {"task": event["type"]},
            "properties": {"body_encoding": "base64"},
        }
    )


def in_some_form(event: dict[str, Any]) -> st.SearchStrategy[str]:
    """Return a valid message in each of the forms."""
    text, celery = json.dumps(event), celery_message(event)
    in_base64 = base64.b64encode(celery.encode()).decode()
    return st.sampled_from([text, notification(text), celery, in_base64])


valid_bodies = st.sampled_from(sorted(EXAMPLES)).flatmap(
    lambda name: in_some_form(cloud_event(name))
)


def never_surprises(body: str) -> CommandEnvelope | None:
    """Parse and redact: the result must be a command or one of the two errors."""
    PARSER.redact(body)
    outcome: CommandEnvelope | Exception
    try:
        outcome = PARSER.parse(message(body))
    except (MalformedMessageError, UnknownTypeError) as error:
        outcome = error
    match outcome:
        case MalformedMessageError():
            assert outcome.detail
        case CommandEnvelope():
            return outcome
    return None


def _present(command: Command) -> list[FieldDefinition]:
    names = command_data(command).keys()
    return [field for field in fields_of(type(command)) if field.name in names]


@LAW
@given(any_command, st.none() | st.integers(0, 2**31 - 1), st.uuids(), st.uuids())
def test_what_is_rendered_is_parsed_again(
    command: Command, version: int | None, command_id: Any, user_id: Any
) -> None:
    """parse(render(command)) == command, for every command there can be."""
    by_email = getattr(command, "email", None) is not None and not command.creates_user
    body = render_command(
        command.type,
        command_data(command),
        command_id=str(command_id),
        user_id=None if by_email else str(user_id),
        source="/test",
        expectedversion=version,
    )

    envelope = PARSER.parse(message(body))

    assert envelope.command == command
    assert envelope.command_id == str(command_id)
    assert envelope.user_id == (None if by_email else str(user_id))
    assert envelope.expected_version == version
    hidden = any(not field.shown for field in _present(command))
    assert (PARSER.redact(body) is not None) is hidden


@LAW
@given(any_command)
def test_every_form_of_a_command_has_one_fingerprint(command: Command) -> None:
    """A producer may change the form between two tries."""
    by_email = getattr(command, "email", None) is not None and not command.creates_user
    event = cloud_event() | {"type": command.type, "data": command_data(command)}
    event["subject"] = None if by_email else USER_ID
    text = json.dumps(event)
    bodies = [text, notification(text), celery_message(event)]

    envelopes = [PARSER.parse(message(body)) for body in bodies]

    assert len({envelope.content_hash for envelope in envelopes}) == 1
    assert envelopes[0] == envelopes[1]


@LAW
@given(st.text())
@example("\ud800")
@example('"\\ud800"')
@example('{"specversion":"1.0","type":"\\ud800"}')
def test_no_text_surprises_the_parser(text: str) -> None:
    """Any text is a command or one of two errors."""
    never_surprises(text)


@LAW
@given(st.binary())
def test_no_bytes_surprise_the_parser(octets: bytes) -> None:
    """The same holds for bytes, decoded in some way or sent as base64."""
    never_surprises(octets.decode("latin-1"))
    never_surprises(octets.decode("utf-8", "replace"))
    never_surprises(base64.b64encode(octets).decode())


@LAW
@given(JSON)
def test_no_json_surprises_the_parser(value: Any) -> None:
    """The same holds for JSON, plain, in a notification or in a Celery message."""
    text = json.dumps(value)
    never_surprises(text)
    never_surprises(notification(text))
    never_surprises(json.dumps({"headers": {"task": "x"}, "body": text, "properties": {}}))
    never_surprises(celery_message(cloud_event()).replace("null", text))


@settings(LAW, max_examples=200)
@given(
    st.sampled_from(sorted(EXAMPLES)),
    st.sampled_from(("id", "source", "subject", "time", "type", "data", "specversion", "x")),
    JSON,
    st.data(),
)
def test_no_value_in_any_place_surprises_the_parser(
    name: str, attribute: str, value: Any, data: st.DataObject
) -> None:
    """A valid message with any JSON at any of its places."""
    event = cloud_event(name)
    if event["data"] and data.draw(st.booleans()):
        field = data.draw(st.sampled_from(sorted(event["data"])))
        never_surprises(data.draw(in_some_form(event | {"data": event["data"] | {field: value}})))
    else:
        event[attribute] = value
        never_surprises(json.dumps(event))


@settings(LAW, max_examples=400)
@given(valid_bodies, st.data())
def test_no_damage_to_a_valid_message_surprises_the_parser(body: str, data: st.DataObject) -> None:
    """A valid message with a part replaced by another text."""
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(len(body), start + 40)))
    never_surprises(body[:start] + data.draw(st.text(max_size=5)) + body[end:])


@settings(LAW, max_examples=25)
@given(st.sampled_from([('{"a":', "}"), ("[", "]"), ('{"data":[', "]}")]), st.integers(1, 20_000))
def test_no_depth_surprises_the_parser(brackets: tuple[str, str], times: int) -> None:
    """Neither the parser nor the redaction exceeds the recursion limit."""
    opening, closing = brackets
    text = opening * times + "1" + closing * times
    never_surprises(text)
    never_surprises(opening * times)
    never_surprises(notification(text))


def test_the_examples_are_valid_in_every_form() -> None:
    """The other tests start from these."""
    for name in EXAMPLES:
        event = cloud_event(name)
        for body in (json.dumps(event), notification(json.dumps(event)), celery_message(event)):
            envelope = never_surprises(body)
            assert envelope is not None
            assert envelope.command_id == COMMAND_ID
