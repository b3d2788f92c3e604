from __future__ import annotations

import json
import traceback
from typing import Any

import pytest

from application.messages import MalformedCode, MalformedMessageError
from tests.unit.application.messages.examples import (
    EXAMPLES,
    OTHER_ID,
    PARSER,
    USER_ID,
    cloud_event,
    message,
    notification,
    token_hash,
    with_data,
)

CANARY = "zq7 Canary: value"
Code = MalformedCode


def refusal(body: str) -> MalformedMessageError:
    """Return the error that a body causes."""
    with pytest.raises(MalformedMessageError) as caught:
        PARSER.parse(message(body))
    return caught.value


BODIES = [
    ("empty", "", Code.NOT_JSON),
    ("blank", " \n", Code.NOT_JSON),
    ("text", "hello, world", Code.NOT_JSON),
    ("cut short", with_data()[:-7], Code.NOT_JSON),
    ("two objects", "{}{}", Code.NOT_JSON),
    ("byte order mark inside", with_data().replace(":", ":\ufeff", 1), Code.NOT_JSON),
    ("only a byte order mark", "\ufeff", Code.NOT_JSON),
    ("UTF-16", with_data().encode("utf-16-le").decode("latin-1"), Code.NOT_JSON),
    ("NUL", "\0", Code.NOT_JSON),
    ("not a number", '{"specversion":NaN}', Code.NOT_JSON),
    ("infinity", '{"specversion":-Infinity}', Code.NOT_JSON),
    ("integer of 5,000 digits", '{"id":' + "1" * 5_000 + "}", Code.NOT_JSON),
    ("a field twice", '{"id":"1","id":"2"}', Code.DUPLICATE_FIELD),
    ("a field twice, deep", '{"data":{"a":1,"a":1}}', Code.DUPLICATE_FIELD),
    ("array", "[]", Code.NOT_A_COMMAND),
    ("a batch of events", f"[{with_data()}]", Code.NOT_A_COMMAND),
    ("string", '"text"', Code.NOT_A_COMMAND),
    ("number", "17", Code.NOT_A_COMMAND),
    ("true", "true", Code.NOT_A_COMMAND),
    ("null", "null", Code.NOT_A_COMMAND),
    ("empty object", "{}", Code.NOT_A_COMMAND),
    ("no envelope", '{"email":"ada@example.com"}', Code.NOT_A_COMMAND),
    ("a properties key", '{"properties":{}}', Code.NOT_A_COMMAND),
    ("a properties key of another type", '{"properties":3,"body":"x"}', Code.NOT_A_COMMAND),
    ("headers, and no task", '{"headers":{},"body":"e30="}', Code.NOT_A_COMMAND),
    ("arrays in arrays", "[" * 262_144, Code.TOO_DEEP),
    ("objects in objects", '{"a":' * 43_690 + "1" + "}" * 43_690, Code.TOO_DEEP),
    ("33 levels", "[" * 33 + "]" * 33, Code.TOO_DEEP),
    ("more than SQS carries", json.dumps({"id": "x" * 1_048_576}), Code.TOO_LARGE),
    ("more than SQS carries, as base64", "A" * 1_048_580, Code.TOO_LARGE),
    ("base64 of no UTF-8", "gICAgICAgICA", Code.INVALID_ENCODING),
    ("base64 cut short", "eyJzcGVjdmVyc2lvbiI6Ij", Code.INVALID_ENCODING),
    ("base64 of text", "aGVsbG8sIHdvcmxk", Code.NOT_JSON),
    ("a subscription's confirmation", '{"Type":"SubscriptionConfirmation","TopicArn":"a"}',
     Code.NOT_A_COMMAND),
    ("a notification without message", '{"Type":"Notification","TopicArn":"a"}',
     Code.MISSING_FIELD),
    ("a notification of text", notification("hello"), Code.NOT_JSON),
    ("a notification of an array", notification("[]"), Code.NOT_A_COMMAND),
    ("a notification in a notification", notification(notification(with_data())),
     Code.NOT_A_COMMAND),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "code"), [case[1:] for case in BODIES], ids=[case[0] for case in BODIES]
)
def test_a_body_that_is_not_a_command_is_refused_with_its_reason(body: str, code: Code) -> None:
    """Anything that a queue may hold ends as a malformed message, with a short reason."""
    error = refusal(body)

    assert error.code == code
    assert 0 < len(error.detail) < 200


def test_32_levels_are_not_too_deep() -> None:
    """The limit is exact; brackets in a text do not count."""
    assert refusal("[" * 32 + "]" * 32).code == Code.NOT_A_COMMAND
    assert PARSER.parse(message(with_data("BanUser", reason="[{" * 50))).user_id == USER_ID


ATTRIBUTES = [
    ({"specversion": ...}, Code.NOT_A_COMMAND, "specversion"),
    ({"specversion": "0.3"}, Code.NOT_A_COMMAND, "specversion"),
    ({"specversion": 1.0}, Code.NOT_A_COMMAND, "specversion"),
    ({"type": ...}, Code.MISSING_FIELD, "type"),
    ({"id": ...}, Code.MISSING_FIELD, "id"),
    ({"id": None}, Code.MISSING_FIELD, "id"),
    ({"id": ""}, Code.INVALID_FIELD, "id"),
    ({"id": 7}, Code.INVALID_FIELD, "id"),
    ({"id": "{" + OTHER_ID + "}"}, Code.INVALID_FIELD, "id"),
    ({"id": OTHER_ID.replace("-", "")}, Code.INVALID_FIELD, "id"),
    ({"id": "00000000-0000-0000-0000-000000000000"}, Code.INVALID_FIELD, "id"),
    ({"id": "ffffffff-ffff-ffff-ffff-ffffffffffff"}, Code.INVALID_FIELD, "id"),
    ({"subject": "00000000-0000-0000-0000-000000000000"}, Code.INVALID_FIELD, "subject"),
    ({"subject": "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"}, Code.INVALID_FIELD, "subject"),
    ({"source": ...}, Code.MISSING_FIELD, "source"),
    ({"source": ""}, Code.INVALID_FIELD, "source"),
    ({"source": "a b"}, Code.INVALID_FIELD, "source"),
    ({"source": "é"}, Code.INVALID_FIELD, "source"),
    ({"source": "/" + "x" * 256}, Code.INVALID_FIELD, "source"),
    ({"subject": ...}, Code.MISSING_FIELD, "subject"),
    ({"subject": "ada@example.com"}, Code.INVALID_FIELD, "subject"),
    ({"time": "yesterday"}, Code.INVALID_FIELD, "time"),
    ({"time": "2026-11-22T10:00:00"}, Code.INVALID_FIELD, "time"),
    ({"time": 1_700_000_000}, Code.INVALID_FIELD, "time"),
    ({"datacontenttype": "text/xml"}, Code.INVALID_FIELD, "datacontenttype"),
    ({"data_base64": "e30="}, Code.NOT_SUPPORTED, "data_base64"),
    ({"data": []}, Code.INVALID_FIELD, "data"),
    ({"data": "{}"}, Code.INVALID_FIELD, "data"),
    ({"data": 5}, Code.INVALID_FIELD, "data"),
    ({"expectedversion": -1}, Code.INVALID_FIELD, "expectedversion"),
    ({"expectedversion": True}, Code.INVALID_FIELD, "expectedversion"),
    ({"expectedversion": 1.5}, Code.INVALID_FIELD, "expectedversion"),
    ({"expectedversion": "03"}, Code.INVALID_FIELD, "expectedversion"),
    ({"expectedversion": 2**31}, Code.INVALID_FIELD, "expectedversion"),
    ({"expirytime": "2026-02-30T00:00:00Z"}, Code.INVALID_FIELD, "expirytime"),
    ({"actor": "ada@example.com"}, Code.INVALID_FIELD, "actor"),
    ({"actor": ""}, Code.INVALID_FIELD, "actor"),
    ({"correlationid": "x" * 129}, Code.INVALID_FIELD, "correlationid"),
    ({"correlationid": ""}, Code.INVALID_FIELD, "correlationid"),
    ({"correlationid": 5}, Code.INVALID_FIELD, "correlationid"),
    ({"actor": "x" * 257}, Code.INVALID_FIELD, "actor"),
    ({"actor": "a\nb"}, Code.INVALID_FIELD, "actor"),
    ({"correlation_id": "x"}, Code.UNKNOWN_FIELD, "an unknown attribute"),
    ({"an extension": "x"}, Code.UNKNOWN_FIELD, "an unknown attribute"),
    ({"extension": {"a": 1}}, Code.INVALID_FIELD, "an unknown attribute"),
    ({"extension": 1.5}, Code.INVALID_FIELD, "an unknown attribute"),
]


@pytest.mark.parametrize(("change", "code", "field"), ATTRIBUTES)
def test_an_attribute_that_breaks_its_rule_is_named(
    change: dict[str, Any], code: Code, field: str
) -> None:
    """The detail starts with the attribute's name."""
    error = refusal(json.dumps(cloud_event("VerifyEmail", **change)))

    assert error.code == code
    assert error.detail.startswith(f"{field}: ")


FIELDS = [
    ("RegisterUser", {"email": ...}, Code.MISSING_FIELD, "data.email"),
    ("RegisterUser", {"email": None}, Code.INVALID_FIELD, "data.email"),
    ("RegisterUser", {"email": 5}, Code.INVALID_FIELD, "data.email"),
    ("RegisterUser", {"email": "ada"}, Code.INVALID_FIELD, "data.email"),
    ("RegisterUser", {"email": "a@" + "b" * 60 + ".c" * 96 + "d"}, Code.INVALID_FIELD,
     "data.email"),
    ("RegisterUser", {"email": "é" * 33 + "@example.com"}, Code.INVALID_FIELD, "data.email"),
    ("RegisterUser", {"email": "a@" + "é" * 100_000}, Code.INVALID_FIELD, "data.email"),
    ("RegisterUser", {"email": "\ud800@example.com"}, Code.INVALID_FIELD, "data.email"),
    ("RegisterUser", {"first_name": ""}, Code.INVALID_FIELD, "data.first_name"),
    ("RegisterUser", {"first_name": " " * 10}, Code.INVALID_FIELD, "data.first_name"),
    ("RegisterUser", {"first_name": "x" * 101}, Code.INVALID_FIELD, "data.first_name"),
    ("RegisterUser", {"first_name": "\ud800"}, Code.INVALID_FIELD, "data.first_name"),
    ("RegisterUser", {"last_name": "a\0b"}, Code.INVALID_FIELD, "data.last_name"),
    ("RegisterUser", {"last_name": ["x"]}, Code.INVALID_FIELD, "data.last_name"),
    ("RegisterUser", {"password_hash": "hunter2"}, Code.INVALID_FIELD, "data.password_hash"),
    ("RegisterUser", {"password_hash": "$2b$12$" + "a" * 53}, Code.INVALID_FIELD,
     "data.password_hash"),
    ("RegisterUser", {"nickname": "x"}, Code.UNKNOWN_FIELD, "data"),
    ("RegisterUser", {"x" * 65: 1}, Code.UNKNOWN_FIELD, "data"),
    ("RegisterUser", {"ada@example.com": 1}, Code.UNKNOWN_FIELD, "data"),
    ("RegisterUser", {"": 1}, Code.UNKNOWN_FIELD, "data"),
    ("CreateUser", {"roles": "admin"}, Code.INVALID_FIELD, "data.roles"),
    ("CreateUser", {"roles": ["admin", "god"]}, Code.INVALID_FIELD, "data.roles[1]"),
    ("CreateUser", {"roles": ["admin", "admin"]}, Code.INVALID_FIELD, "data.roles"),
    ("CreateUser", {"roles": ["admin"] * 21}, Code.INVALID_FIELD, "data.roles"),
    ("CreateUser", {"email_verified": "true"}, Code.INVALID_FIELD, "data.email_verified"),
    ("CreateUser", {"email_verified": 1}, Code.INVALID_FIELD, "data.email_verified"),
    ("CreateUser", {"created_at": 1_500_000_000}, Code.INVALID_FIELD, "data.created_at"),
    ("CreateUser", {"created_at": "2019-03-01"}, Code.INVALID_FIELD, "data.created_at"),
    ("CreateUser", {"created_at": "1989-12-31T23:59:59.999Z"}, Code.INVALID_FIELD,
     "data.created_at"),
    ("CreateUser", {"created_at": "2100-01-01T00:00:00Z"}, Code.INVALID_FIELD, "data.created_at"),
    ("UpdateProfile", {"first_name": ...}, Code.MISSING_FIELD, "data"),
    ("UpdateProfile", {"first_name": None}, Code.MISSING_FIELD, "data"),
    ("RequestEmailVerification", {"token_id": "7"}, Code.INVALID_FIELD, "data.token_id"),
    ("RequestEmailVerification", {"token_hash": "x" * 64}, Code.INVALID_FIELD,
     "data.token_hash"),
    ("RequestEmailVerification", {"expires_at": "2026-12-24 18:00"}, Code.INVALID_FIELD,
     "data.expires_at"),
    ("RegisterUser", {"email": "ada@example.com\u201d"}, Code.INVALID_FIELD, "data.email"),
    ("CreateUser", {"email": "\u3164ada@example.com"}, Code.INVALID_FIELD, "data.email"),
    ("CreateUser", {"first_name": "\u200b"}, Code.INVALID_FIELD, "data.first_name"),
    ("UpdateProfile", {"last_name": "Ada\u202e"}, Code.INVALID_FIELD, "data.last_name"),
    ("BanUser", {"reason": "\u3164"}, Code.INVALID_FIELD, "data.reason"),
    ("StartSession", {"session_id": "00000000-0000-0000-0000-000000000000"},
     Code.INVALID_FIELD, "data.session_id"),
    ("RequestPasswordReset", {"token_id": "ffffffff-ffff-ffff-ffff-ffffffffffff"},
     Code.INVALID_FIELD, "data.token_id"),
    ("RequestEmailVerification", {"expires_at": 1}, Code.INVALID_FIELD, "data.expires_at"),
    ("ChangePassword", {"credential_version": "1"}, Code.INVALID_FIELD,
     "data.credential_version"),
    ("ChangePassword", {"credential_version": True}, Code.INVALID_FIELD,
     "data.credential_version"),
    ("ChangePassword", {"credential_version": 1.0}, Code.INVALID_FIELD,
     "data.credential_version"),
    ("ChangePassword", {"credential_version": -1}, Code.INVALID_FIELD,
     "data.credential_version"),
    ("ChangePassword", {"credential_version": 10**30}, Code.INVALID_FIELD,
     "data.credential_version"),
    ("EnableTwoFactor", {"secret_ciphertext": "x" * 1025}, Code.INVALID_FIELD,
     "data.secret_ciphertext"),
    ("EnableTwoFactor", {"secret_ciphertext": ""}, Code.INVALID_FIELD,
     "data.secret_ciphertext"),
    ("EnableTwoFactor", {"recovery_code_hashes": [token_hash(1)] * 8}, Code.INVALID_FIELD,
     "data.recovery_code_hashes"),
    ("EnableTwoFactor", {"recovery_code_hashes": [token_hash(n) for n in range(7)]},
     Code.INVALID_FIELD, "data.recovery_code_hashes"),
    ("EnableTwoFactor", {"recovery_code_hashes": [token_hash(n) for n in range(17)]},
     Code.INVALID_FIELD, "data.recovery_code_hashes"),
    ("EnableTwoFactor", {"recovery_code_hashes": ["1234-5678"] * 8}, Code.INVALID_FIELD,
     "data.recovery_code_hashes[0]"),
    ("AssignRole", {"role": "god"}, Code.INVALID_FIELD, "data.role"),
    ("RevokeRole", {"role": "Not A Role"}, Code.INVALID_FIELD, "data.role"),
    ("BanUser", {"reason": ...}, Code.MISSING_FIELD, "data.reason"),
    ("BanUser", {"reason": "x" * 501}, Code.INVALID_FIELD, "data.reason"),
    ("EraseUser", {"reason": "x"}, Code.UNKNOWN_FIELD, "data"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "code", "field"), FIELDS)
def test_a_field_that_breaks_its_rule_is_named(
    name: str, change: dict[str, Any], code: Code, field: str
) -> None:
    """The detail starts with the field's path; an invalid name is not repeated."""
    error = refusal(with_data(name, **change))

    assert error.code == code
    assert error.detail.startswith(f"{field}: ")


def test_several_mistakes_are_named_at_once_and_not_without_end() -> None:
    """A sender can fix them at once; a thousand unknown fields do not make the detail long."""
    error = refusal(
        with_data(email="x", first_name=..., **dict.fromkeys(map("f{}".format, range(1000)), 1))
    )

    assert "data.email: " in error.detail
    assert "data.first_name: is missing" in error.detail
    assert len(error.detail) < 500


def _with_canary() -> list[str]:
    """Return bodies with the canary at every place of a value, in each command."""
    bodies = [CANARY, json.dumps(CANARY), json.dumps([CANARY]), json.dumps({CANARY: CANARY})]
    for name, data in EXAMPLES.items():
        for field in data:
            wrong = [{CANARY: CANARY}, [CANARY], CANARY * 500]
            text_is_right = field in ("first_name", "last_name", "reason", "secret_ciphertext")
            wrong += [] if text_is_right else [CANARY]
            bodies += [with_data(name, **{field: value}) for value in wrong]
        bodies.append(with_data(name, **{CANARY: CANARY}))
        bodies.append(json.dumps(cloud_event(name, **{CANARY: CANARY})))
    for attribute in ("specversion", "id", "source", "subject", "time", "datacontenttype", "data",
                      "type", "expectedversion", "expirytime"):  # fmt: skip
        bodies.append(json.dumps(cloud_event(**{attribute: CANARY})))
    return bodies


@pytest.mark.parametrize("body", _with_canary())
def test_no_error_text_holds_a_value_of_the_message(body: str) -> None:
    """Neither the detail, nor the message, nor the traceback of a log has one."""
    error = refusal(body)

    for text in (error.detail, str(error), repr(error.args), error.code):
        assert "zq7" not in text.lower()
    assert "zq7" not in "".join(traceback.format_exception(error)).lower()
