from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from application.messages import (
    MalformedMessageError,
    Redactor,
    UnknownTypeError,
    read_attributes,
    shown_attribute,
)
from application.messages.attributes import ATTRIBUTES
from application.messages.redaction import UNKNOWN, described
from domain.commands import COMMANDS
from domain.fields import FieldDefinition, fields_of
from tests.fuzz.bodies import FORMS, in_base64
from tests.secrets import NAMES, SECRET, SHAPES, reveals
from tests.unit.application.messages.examples import (
    COMMAND_ID,
    EXAMPLES,
    OTHER_ID,
    PARSER,
    USER_ID,
    cloud_event,
    message,
    notification,
    with_data,
)

LAW = settings(deadline=None)
REDACTOR = Redactor(["customer", "admin"])


def kept(body: str) -> str:
    """Return the body that a dead letter would have."""
    redacted = REDACTOR.redact(body)
    return body if redacted is None else redacted.body


# --- what is shown -------------------------------------------------------------------------


def shown_data(name: str) -> dict[str, Any]:
    """Return what a dead letter shows of the example of a command."""
    fields = fields_of(COMMANDS[f"biome.user.{name}.v1"])
    is_shown = {field.name: field.shown for field in fields}
    return {
        field: value if is_shown[field] else described(value)
        for field, value in EXAMPLES[name].items()
    }


SHOWN = [name for name in EXAMPLES if shown_data(name) == EXAMPLES[name]]
"""The commands whose examples are shown completely."""


def test_credentials_and_free_text_are_hidden_in_every_command() -> None:
    """A new field is hidden unless its rule is one of these."""
    fields = [field for kind in COMMANDS.values() for field in fields_of(kind)]
    assert {field.name for field in fields if field.shown} == {
        *("created_at", "credential_version", "email", "email_verified", "expires_at", "new_email"),
        *("role", "roles", "session_id", "stage", "token_id", "totp_step", "until"),
    }


@pytest.mark.parametrize("name", SHOWN)
def test_a_command_of_shown_fields_stays_byte_for_byte(name: str) -> None:
    """Nothing is replaced in it, whatever its blanks and its escapes."""
    for body in (json.dumps(cloud_event(name)), json.dumps(cloud_event(name), indent=3)):
        assert REDACTOR.redact(body) is None


@pytest.mark.parametrize("name", sorted(EXAMPLES.keys() - SHOWN))
def test_a_valid_hash_token_or_text_is_hidden(name: str) -> None:
    """Only its type and its length are shown, and the letter states that it is not complete."""
    redacted = REDACTOR.redact(json.dumps(cloud_event(name)))
    assert redacted is not None
    assert not redacted.complete
    assert json.loads(redacted.body) == cloud_event(name, data=shown_data(name))
    assert not redacted.body.count("argon2")


def _secret_in(field: FieldDefinition) -> Any:
    """Return a value of a field's type with a secret."""
    return [SECRET] if field.kind is tuple else SECRET


def test_a_secret_in_any_field_of_any_command_is_hidden() -> None:
    """Valid there or not."""
    for kind, command in COMMANDS.items():
        name = command.__name__
        for field in fields_of(command):
            data = EXAMPLES[name] | {field.name: _secret_in(field)}
            body = json.dumps(cloud_event(name, type=kind, data=data))
            assert not reveals(kept(body)), (name, field.name)
            error = _refusal(body)
            assert error is None or not reveals(str(error)), (name, field.name)


@pytest.mark.parametrize("name", ATTRIBUTES)
@pytest.mark.parametrize(
    "value", [SECRET, f"/{SECRET}", f"https://x/?p={SECRET}", f"https://{SECRET.lower()}:x@x/a"]
)
def test_a_secret_in_any_attribute_is_hidden(name: str, value: str) -> None:
    """Also where the parser accepts any text: source, actor, correlationid and tracestate."""
    body = json.dumps(cloud_event("EraseUser") | {name: value})
    assert not reveals(kept(body))
    assert shown_attribute(name, value) is None


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("form", FORMS[1:], ids=["SNS", "Celery", "base64"])
def test_a_valid_command_loses_its_wrapping_only(
    name: str, form: Callable[[dict[str, Any]], str]
) -> None:
    """The letter is the same command as a plain CloudEvent; a redrive of it changes nothing."""
    event = cloud_event(name, subject=USER_ID)
    if "email" in event["data"] and COMMANDS[event["type"]].may_name_by_email():
        del event["data"]["email"]
    wrapped = form(event)

    redacted = REDACTOR.redact(wrapped)

    assert redacted is not None
    assert redacted.complete
    assert json.loads(redacted.body).keys() <= event.keys()
    assert PARSER.parse(message(redacted.body)) == PARSER.parse(message(wrapped))


def test_every_field_is_shown_if_its_value_is_valid_and_only_then() -> None:
    """The rules are those of the parser, field by field, for every command."""
    for kind, command in COMMANDS.items():
        name = command.__name__
        for field in EXAMPLES[name]:
            data = EXAMPLES[name] | {field: {"invalid": SECRET}}
            body = json.dumps(cloud_event(name, type=kind, data=data))
            redacted = REDACTOR.redact(body)
            assert redacted is not None
            assert not redacted.complete
            shown = json.loads(redacted.body)["data"]
            assert shown == shown_data(name) | {field: "[object of 1 fields]"}


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"id": "x"}, {"id": "[string of 1 characters]"}),
        ({"source": "not a source"}, {"source": "[string of 12 characters]"}),
        ({"source": "https://example.com/a-b/2"}, {"source": "https://example.com/a-b/2"}),
        ({"source": "/a?b"}, {"source": "[string of 4 characters]"}),
        ({"actor": USER_ID}, {"actor": USER_ID}),
        ({"actor": "support/7"}, {"actor": "[string of 9 characters]"}),
        ({"correlationid": USER_ID}, {"correlationid": USER_ID}),
        ({"correlationid": "one text"}, {"correlationid": "[string of 8 characters]"}),
        ({"tracestate": "a=b"}, {"tracestate": "[string of 3 characters]"}),
        ({"actor": "ada@example.com"}, {"actor": "[string of 15 characters]"}),
        ({"traceparent": SECRET}, {"traceparent": f"[string of {len(SECRET)} characters]"}),
        ({"expectedversion": 1.5}, {"expectedversion": "[number of 3 characters]"}),
        ({"specversion": "0.3"}, {"specversion": "[string of 3 characters]"}),
        ({"type": "hunter2"}, {"type": "[string of 7 characters]"}),
        ({"x": 1, "y": [1, 2]}, {UNKNOWN: ["[number of 1 characters]", "[array of 2 items]"]}),
        ({"x": None}, {UNKNOWN: ["[null]"]}),
        ({"x": True}, {UNKNOWN: ["[boolean]"]}),
    ],
)
def test_an_invalid_or_unknown_attribute_is_replaced_by_type_and_length(
    change: dict[str, Any], shown: dict[str, Any]
) -> None:
    """The name of an unknown one is not shown either: it may be a secret."""
    event = cloud_event("EraseUser")
    redacted = json.loads(kept(json.dumps(event | change)))
    if "type" in change:
        shown |= {"data": f"[object of {len(event['data'])} fields]"}
    known = {name: value for name, value in event.items() if name not in change}
    assert redacted == known | shown


@pytest.mark.parametrize(
    ("kind", "is_shown"),
    [
        ("biome.user.MakeCoffee.v1", True),
        ("biome.user.UserBanned.v1", True),
        ("biome.user.MakeCoffee.v123", False),
        ("biome.user.Hunter2.v1", False),
        (f"biome.user.{'x' * 41}.v1", False),
    ],
)
def test_of_an_unknown_command_the_type_is_shown_and_no_data(kind: str, *, is_shown: bool) -> None:
    """A type with digits or of unusual length may be a misplaced value."""
    redacted = json.loads(kept(json.dumps(cloud_event() | {"type": kind})))
    assert (redacted["type"] == kind) is is_shown
    assert redacted["data"].startswith("[object of ")


def test_many_unknown_fields_are_counted() -> None:
    """The letter stays small."""
    redacted = json.loads(kept(with_data(**{f"f{n}": n for n in range(5_000)})))
    assert redacted["data"][UNKNOWN] == ["[number of 1 characters]"] * 10 + ["[4990 more]"]


# --- wrapped bodies ------------------------------------------------------------------------


def _protocol_1() -> dict[str, Any]:
    return {
        "task": "biome.user.RegisterUser.v1",
        "id": COMMAND_ID,
        "args": [SECRET],
        "kwargs": EXAMPLES["RegisterUser"] | {"user_id": USER_ID, "password": SECRET},
    }


def _protocol_2(**headers: Any) -> dict[str, Any]:
    data = EXAMPLES["RegisterUser"] | {"user_id": USER_ID, "password": SECRET}
    return {
        "body": in_base64(json.dumps([[SECRET], data, {"callbacks": [SECRET]}])),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "task": "biome.user.RegisterUser.v1",
            "id": COMMAND_ID,
            "argsrepr": repr([SECRET]),
            "kwargsrepr": repr(data),
            **headers,
        },
        "properties": {"body_encoding": "base64", SECRET: SECRET},
    }


WRAPPED: dict[str, str] = {
    "protocol 1": json.dumps(_protocol_1()),
    "protocol 1 in kombu's envelope": json.dumps(
        {"body": in_base64(json.dumps(_protocol_1())), "headers": {}, "properties": {}}
    ),
    "protocol 2 with positional arguments": json.dumps(_protocol_2()),
    "protocol 2 with eta": json.dumps(_protocol_2(eta="2026-11-22T10:00:00Z")),
    "protocol 2 in base64": in_base64(json.dumps(_protocol_2())),
    "SNS": notification(with_data(password=SECRET), Subject=SECRET),
    "JSON in JSON": json.dumps(with_data(password=SECRET)),
    "JSON in JSON in base64": in_base64(json.dumps(with_data(password=SECRET))),
}


@pytest.mark.parametrize("form", list(WRAPPED))
def test_the_command_is_found_in_its_wrapping(form: str) -> None:
    """The letter is a plain CloudEvent with what is valid, although the parser refuses the form."""
    redacted = REDACTOR.redact(WRAPPED[form])
    assert redacted is not None
    assert not redacted.complete
    assert not reveals(redacted.body)
    event = json.loads(redacted.body)
    assert (event["type"], event["id"]) == ("biome.user.RegisterUser.v1", COMMAND_ID)
    assert event["data"]["email"] == EXAMPLES["RegisterUser"]["email"]


@pytest.mark.parametrize(
    "body",
    ["", "hello", SECRET, f"email=ada&password={SECRET}", json.dumps([SECRET]), json.dumps(SECRET),
     json.dumps({"password": SECRET})[:-1], '{"password": NaN}', "[" * 5_000, "\0" + SECRET,
     f'{{"password":"{SECRET}","password":1}}', "4711", "null", f'{{"a":"{SECRET}",}}'],
)  # fmt: skip
def test_a_body_that_cannot_be_read_is_replaced_as_a_whole(body: str) -> None:
    """By its length."""
    redacted = REDACTOR.redact(body)
    assert redacted is not None
    assert redacted.body == f"[string of {len(body)} characters]"
    assert not redacted.complete


# --- secrets -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_no_secret_is_shown_under_any_name(shape: str) -> None:
    """Neither in the letter nor in the error, under each of more than 200 names."""
    assert len(NAMES) > 200
    for name in NAMES:
        body = SHAPES[shape](name)
        assert not reveals(kept(body)), name
        error = _refusal(body)
        assert error is None or not reveals(str(error)), name


def _refusal(body: str) -> Exception | None:
    try:
        PARSER.parse(message(body))
    except (MalformedMessageError, UnknownTypeError) as error:
        return error
    return None


def _bodies() -> list[str]:
    event = with_data(password_hash=SECRET)
    return [event, notification(event), *WRAPPED.values(), kept(event)]


@LAW
@given(st.sampled_from(_bodies()), st.data())
def test_no_secret_stays_in_a_damaged_body(body: str, data: st.DataObject) -> None:
    """It is cut, and a character is inserted, at any position."""
    place = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(place, len(body)))
    character = data.draw(st.sampled_from(["", *'"{}[],:\\\0 x=\n']))
    assert not reveals(kept(body[:place] + character + body[place:]))
    assert not reveals(kept(body[:place] + character + body[end:]))


@LAW
@given(st.text() | st.sampled_from(_bodies()))
def test_redacting_twice_is_redacting_once(text: str) -> None:
    """A letter is shown as it is stored."""
    redacted = REDACTOR.redact(text)
    assert redacted is None or REDACTOR.redact(redacted.body) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_a_description_has_no_value(value: Any) -> None:
    """Type and length, in at most 40 characters; a description of a description is the same."""
    text = described(value)
    assert text.startswith("[")
    assert len(text) <= 40
    assert described(text) == text


# --- limits --------------------------------------------------------------------------------


@functools.cache
def _hostile_bodies() -> dict[str, str]:
    size = 1_000_000
    nested = json.dumps(with_data(password=SECRET))
    for _ in range(12):
        nested = json.dumps(nested)
    deep: Any = {"password": SECRET}
    for _ in range(30):
        deep = {"headers": deep, "body": "e30="}
    return {
        "JSON in JSON": nested,
        "headers within headers": json.dumps(deep),
        "an array of texts": json.dumps(cloud_event(data={"roles": ["x"] * (size // 5)})),
        "many fields": json.dumps(cloud_event(data={f"{n}": 1 for n in range(size // 12)})),
        "many attributes": json.dumps(cloud_event() | {f"{n}": 1 for n in range(size // 12)}),
        "a long text": json.dumps(cloud_event(data={"email": "x" * size})),
        "a long type": json.dumps(cloud_event() | {"type": "biome.user." + "X" * size}),
        "brackets": json.dumps(["[" * 1000] * 1000),
        "damage": '{"password":"' + SECRET + "'a'  " * (size // 5),
        "base64": "A" * size,
        "base64 of base64": in_base64(in_base64("{" * (size // 2))),
        "numbers": json.dumps(cloud_event(data={"email": [1] * (size // 3)})),
    }


@pytest.mark.parametrize("case", _hostile_bodies())
def test_the_largest_bodies_take_less_than_a_second(case: str) -> None:
    """The work grows with the size; the letter is small."""
    body = _hostile_bodies()[case]
    began = time.process_time()
    redacted = kept(body)
    assert time.process_time() - began < 1
    assert len(redacted) < 4_000
    assert not reveals(redacted)


def test_an_error_of_the_redaction_replaces_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug must not keep the message from the dead-letter queue, nor show it."""

    def fail(_: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr("application.messages.redaction.find_event", fail)
    redacted = REDACTOR.redact(SECRET)
    assert redacted is not None
    assert redacted.body == f"[string of {len(SECRET)} characters]"


# --- attributes of the sender --------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS, ids=["plain", "SNS", "Celery", "base64"])
def test_attributes_are_read_from_any_form(form: Callable[[dict[str, Any]], str]) -> None:
    """Also if the command itself is invalid."""
    event = cloud_event(subject=OTHER_ID.upper(), data={"password": SECRET}, actor="support/7")
    found = read_attributes(form(event))
    assert found is not None
    assert (found.command_id, found.user_id) == (COMMAND_ID, OTHER_ID)
    assert (found.type, found.source, found.actor) == (event["type"], event["source"], "support/7")


@pytest.mark.parametrize(
    "change",
    [
        {"id": "x"},
        {"id": None},
        {"source": ""},
        {"type": "x"},
        {"type": "biome.user.UserBanned.v1"},
    ],
)
def test_without_a_valid_id_source_or_type_there_are_no_attributes(change: dict[str, Any]) -> None:
    """An event is not a command."""
    assert read_attributes(json.dumps(cloud_event() | change)) is None
    assert read_attributes(SECRET) is None


def test_an_invalid_attribute_is_left_out() -> None:
    """What is published contains valid values only."""
    event = cloud_event(correlationid="x" * 200, actor="ada@example.com", traceparent=SECRET)
    found = read_attributes(json.dumps(event))
    assert found is not None
    assert (found.correlation_id, found.actor, found.traceparent) == (None, None, None)


def test_base64_is_the_helpers_own() -> None:
    """The check for secrets sees through base64 and escapes."""
    for before in ("", "x", "xx"):
        for after in ("", "y", "yy"):
            assert reveals(in_base64(f"{before}{SECRET}{after}"))
    assert reveals(SECRET.replace("-", "\\u002d"))
    assert not reveals("")
