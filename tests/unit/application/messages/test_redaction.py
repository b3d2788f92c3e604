from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from application.messages import MalformedMessageError, redact
from application.messages.redaction import REDACTED, UNREADABLE
from tests.unit.application.messages.examples import (
    COMMAND_ID,
    EXAMPLES,
    OTHER_ID,
    PARSER,
    PASSWORD_HASH,
    USER_ID,
    cloud_event,
    message,
    notification,
    token_hash,
    with_data,
)

SECRET = "hunter2-correct-horse"
LAW = settings(deadline=None)


def reveals(text: str, secret: str = SECRET) -> bool:
    """Return True if a text contains a secret, plain, escaped or in base64."""
    if secret in text or secret in text.replace("\\", ""):
        return True
    for run in re.findall(r"[A-Za-z0-9+/]{8,}", text):
        whole = run[: len(run) // 4 * 4]
        if reveals(base64.b64decode(whole).decode("utf-8", "replace"), secret):
            return True
    return False


def kept(body: str) -> str:
    """Return the body that a dead letter would have."""
    redacted = redact(body)
    return body if redacted is None else redacted


def task(data: dict[str, Any], *, args: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a Celery message, with the representations of its arguments in the headers."""
    body = json.dumps([args, data, {"callbacks": None, "errbacks": None}])
    return {
        "body": base64.b64encode(body.encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "task": "biome.user.RegisterUser.v1",
            "id": COMMAND_ID,
            "argsrepr": repr(args),
            "kwargsrepr": repr(data),
        },
        "properties": {"body_encoding": "base64", "delivery_tag": OTHER_ID},
    }


def in_base64(text: str) -> str:
    """Return a text as base64."""
    return base64.b64encode(text.encode()).decode()


SECRETIVE = [
    "password",
    "Password",
    "password_confirmation",
    "userPassword",
    "password_hash",
    "token",
    "refresh_token",
    "refresh-token",
    "token_id",
    "token_hash",
    "refresh_token_hash",
    "code_hash",
    "client_secret",
    "secret",
    "passphrase",
    "recovery_codes",
    "recovery_code_hashes",
    "api_key",
]


@pytest.mark.parametrize("name", SECRETIVE)
@pytest.mark.parametrize(
    "wrap",
    [str, lambda value: [value], lambda value: {"v": [value]}],
    ids=["alone", "listed", "nested"],
)
def test_a_secret_is_taken_out_and_the_rest_stays(name: str, wrap: Callable[[str], Any]) -> None:
    """The field is [redacted], at any depth; everything else is unchanged."""
    event = cloud_event(data={"email": "ada@example.com", "more": [{name: wrap(SECRET)}]})

    redacted = json.loads(kept(json.dumps(event)))

    assert REDACTED in json.dumps(redacted["data"]["more"][0][name])
    assert not reveals(json.dumps(redacted))
    redacted["data"]["more"] = event["data"]["more"]
    assert redacted == event


@pytest.mark.parametrize("value", [1234, 12.5, {"clear": SECRET}, [[SECRET]], "", "é"])
def test_a_secret_of_any_type_is_taken_out(value: object) -> None:
    """A PIN is a secret too."""
    redacted = json.loads(kept(json.dumps({"password": value})))

    assert json.dumps(redacted).count(REDACTED) == 1
    assert json.dumps(value) not in json.dumps(redacted)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("password_hash", PASSWORD_HASH),
        ("token_hash", token_hash(1)),
        ("refresh_token_hash", token_hash(1)),
        ("recovery_code_hashes", [token_hash(1), token_hash(2)]),
        ("token_id", OTHER_ID),
        ("password", None),
        ("password", REDACTED),
        ("credential_version", 3),
        ("first_name", "Password"),
        ("reason", "{not JSON about a token}"),
    ],
)
def test_values_that_are_not_secret_are_kept(name: str, value: object) -> None:
    """A hash of the right form, an id and null need no redaction."""
    assert redact(json.dumps({"data": {name: value}})) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("password_hash", token_hash(1)),  # SHA-256 of a password is as good as the password
        ("password_hash", "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43),
        ("token_hash", token_hash(1)[:-1]),
        ("token_id", token_hash(1)),
    ],
)
def test_a_value_of_another_form_than_its_name_promises_is_taken_out(name: str, value: str) -> None:
    """Only the right form makes a value harmless."""
    assert value not in kept(json.dumps({"data": {name: value}}))


@pytest.mark.parametrize("name", EXAMPLES)
def test_nothing_is_taken_out_of_a_valid_command(name: str) -> None:
    """This holds in every form."""
    data = EXAMPLES[name] | {"user_id": USER_ID}
    celery = json.dumps(task(data))
    event = json.dumps(cloud_event(name))

    for body in (event, notification(event), celery, in_base64(celery)):
        assert redact(body) is None


def test_a_celery_message_keeps_its_form_and_loses_its_secret() -> None:
    """The inner body is encoded as base64 again, and so is the whole; headers have no secret."""
    data = EXAMPLES["RegisterUser"] | {"password_hash": SECRET, "user_id": USER_ID}
    celery = task(data)

    plain = kept(json.dumps(celery))
    whole = kept(in_base64(json.dumps(celery)))

    assert not reveals(plain)
    assert not reveals(whole)
    assert json.loads(base64.b64decode(whole)) == json.loads(plain)
    redacted = json.loads(plain)
    args, kwargs, _ = json.loads(base64.b64decode(redacted["body"]))
    assert args == []
    assert kwargs == data | {"password_hash": REDACTED}
    assert redacted["headers"]["id"] == COMMAND_ID
    assert redacted["headers"]["kwargsrepr"] == REDACTED


def test_a_stock_celery_message_loses_its_secret(stock_celery: Callable[..., str]) -> None:
    """It includes everything that kombu adds; positional arguments may be anything."""
    name = "biome.user.RegisterUser.v1"
    for options in ({"kwargs": {"password": SECRET}}, {"args": ("ada", SECRET)}):
        for as_base64 in (True, False):
            body = stock_celery(name, base64=as_base64, task_id=COMMAND_ID, **options)
            assert reveals(body)
            assert not reveals(kept(body))


def test_headers_are_not_believed_when_the_body_cannot_be_read() -> None:
    """The text of the arguments in a header may contain the body's secret."""
    for body in ("", "?", "{", None, 5):
        celery = task({"password": SECRET}) | {"body": body}
        assert not reveals(kept(json.dumps(celery)))


def test_a_notification_keeps_its_form_and_loses_its_secret() -> None:
    """Its message is a text, and is written as a text again."""
    redacted = json.loads(kept(notification(with_data(password=SECRET))))

    assert json.loads(redacted["Message"])["data"]["password"] == REDACTED
    assert redacted["Type"] == "Notification"


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(json.dumps({"password": SECRET})),
        json.dumps([json.dumps({"password": SECRET})]),
        json.dumps({"payload": json.dumps({"password": SECRET})}),
        json.dumps({"data": in_base64(json.dumps({"password": SECRET}))}),
        json.dumps({"data_base64": in_base64(json.dumps({"password": SECRET}))}),
        json.dumps({"password": SECRET}).replace("p", "\\u0070", 1),
        '{"password":"' + SECRET + '","password":null}',
        "[" * 40 + '{"password":"' + SECRET + '"}' + "]" * 40,
        "[" * 5000 + '{"password":"' + SECRET,
        f"email=ada%40example.com&password={SECRET}",
        f"<user><password>{SECRET}</password></user>",
        json.dumps({"password": SECRET}).encode("utf-16-le").decode("latin-1"),
        "\ufeff" + json.dumps({"password": SECRET}),
        json.dumps({"password": SECRET})[:-1].replace("p", "\\u0070", 1),
        json.dumps({"pad": "x" * 1_048_576, "password": SECRET}),
    ],
)
def test_a_secret_does_not_hide_in_another_form(body: str) -> None:
    """Nested text, escapes, duplicate names, depth, damage: the kept body has no secret."""
    assert not reveals(kept(body))
    assert not reveals(kept(body).replace("\0", ""))


def _cut_bodies() -> list[str]:
    event = with_data(password_hash=SECRET)
    celery = json.dumps(task(EXAMPLES["RegisterUser"] | {"password": SECRET}))
    return [event, notification(event), celery, in_base64(celery)]


@LAW
@given(st.sampled_from(_cut_bodies()), st.floats(0, 1))
def test_no_secret_stays_in_a_body_cut_anywhere(body: str, share: float) -> None:
    """An unreadable body that may contain a secret is replaced as a whole."""
    assert not reveals(kept(body[: int(len(body) * share)]))


@LAW
@given(st.sampled_from(_cut_bodies()), st.data())
def test_no_secret_stays_in_a_damaged_body(body: str, data: st.DataObject) -> None:
    """One character is inserted at any position."""
    place = data.draw(st.integers(0, len(body)))
    character = data.draw(st.sampled_from('"{}[],:\\\0 x=\n'))
    assert not reveals(kept(body[:place] + character + body[place:]))


def _hostile_bodies() -> dict[str, str]:
    headers: dict[str, Any] = {"password": SECRET}
    for _ in range(30):
        headers = {"headers": headers, "body": "e30="}
    size = 1_000_000
    return {
        "headers within headers": json.dumps(headers),
        "words without end": json.dumps(["'" + "passw" * (size // 5), {"password": SECRET}]),
        "quotes without end": json.dumps(["'" * size, {"password": SECRET}]),
        "blanks without end": json.dumps(["'a'" + " " * size, {"password": SECRET}]),
        "texts without end": json.dumps(["x"] * (size // 5) + [{"password": SECRET}]),
        "brackets without end": json.dumps(["[" * 1000] * 1000 + [{"password": SECRET}]),
        "damage": '{"password":"' + SECRET + "'a'  " * (size // 5),
        "damaged base64": in_base64(SECRET) + "A" * size,
    }


@pytest.mark.parametrize("case", _hostile_bodies())
def test_the_work_grows_with_the_size_of_a_body_and_not_faster(case: str) -> None:
    """No body that SQS accepts delays a worker (a quadratic search here would take hours)."""
    assert not reveals(kept(_hostile_bodies()[case]))


def test_what_cannot_be_read_and_holds_nothing_stays() -> None:
    """A dead letter has to be useful: no body is removed without need."""
    assert redact("hello, world") is None
    assert redact('{"email":"ada@example.com"') is None
    assert redact('{"password":"x"') == UNREADABLE


@LAW
@given(st.text() | st.sampled_from(_cut_bodies()))
def test_redacting_twice_is_redacting_once(text: str) -> None:
    """A redacted body has no secret."""
    redacted = redact(text)
    assert redacted is None or redact(redacted) is None


def test_the_refusal_carries_what_the_dead_letter_has_to() -> None:
    """The error has the redacted body if there was a secret, and none otherwise."""
    for body, redacted in (
        (with_data(password_hash=SECRET), with_data(password_hash=REDACTED)),
        (with_data(email="x"), None),
    ):
        with pytest.raises(MalformedMessageError) as caught:
            PARSER.parse(message(body))
        carried = caught.value.body
        assert (carried and json.loads(carried)) == (redacted and json.loads(redacted))
