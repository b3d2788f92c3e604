from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from application.messages import (
    MalformedCode,
    MalformedMessageError,
    UnknownTypeError,
    render_command,
)
from application.messages.celery import DEFAULT_SOURCE
from domain.commands import COMMANDS, CommandEnvelope
from tests.unit.application.messages.examples import (
    COMMAND_ID,
    EXAMPLES,
    PARSER,
    SENT_AT,
    USER_ID,
    cloud_event,
    message,
    notification,
    token_hash,
    with_data,
)

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
EXTENSIONS: dict[str, Any] = {
    "source": "/signup",
    "time": "2026-11-22T09:59:00Z",
    "correlationid": "order-17",
    "actor": "admin:42",
    "traceparent": TRACEPARENT,
    "tracestate": "vendor=1",
    "expectedversion": 3,
    "expirytime": "2026-11-22T11:00:00Z",
}
Send = Callable[..., str]


def parse(body: str) -> CommandEnvelope:
    """Return the envelope in a body."""
    return PARSER.parse(message(body))


def refusal(body: str) -> MalformedMessageError:
    """Return the error that a body causes."""
    with pytest.raises(MalformedMessageError) as caught:
        parse(body)
    return caught.value


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_command_is_the_same_in_every_form(name: str, stock_celery: Send) -> None:
    """CloudEvent, SNS notification and Celery message, base64 or not, give one envelope."""
    event = json.dumps(cloud_event(name, **EXTENSIONS))
    task: dict[str, Any] = {
        "kwargs": {**EXAMPLES[name], "user_id": USER_ID},
        "task_id": COMMAND_ID,
        "headers": EXTENSIONS,
    }
    kind = f"biome.user.{name}.v1"

    expected = parse(event)

    assert parse(notification(event)) == expected
    assert parse(stock_celery(kind, **task)) == expected
    assert parse(stock_celery(kind, base64=False, **task)) == expected
    assert isinstance(expected.command, COMMANDS[kind])
    assert expected.command_id == COMMAND_ID
    assert expected.user_id == USER_ID


def test_every_extension_reaches_the_envelope() -> None:
    """Attributes with a field in the envelope are parsed; the others are ignored."""
    envelope = parse(json.dumps(cloud_event(**EXTENSIONS, dataschema="urn:x", partitionkey="p")))

    assert envelope.source == "/signup"
    assert envelope.sent_at == datetime(2026, 11, 22, 9, 59, tzinfo=UTC)
    assert envelope.correlation_id == "order-17"
    assert envelope.actor == "admin:42"
    assert envelope.traceparent == TRACEPARENT
    assert envelope.tracestate == "vendor=1"
    assert envelope.expected_version == 3
    assert envelope.expires_at == datetime(2026, 11, 22, 11, 0, tzinfo=UTC)


def test_without_a_time_the_sent_timestamp_of_the_queue_is_used() -> None:
    """SentTimestamp replaces `time`."""
    assert parse(json.dumps(cloud_event(time=...))).sent_at == SENT_AT


@pytest.mark.parametrize("form", ["plain", "notification", "celery"])
@pytest.mark.parametrize(
    ("time", "original", "counts"),
    [
        pytest.param(None, None, 0, id="only SentTimestamp"),
        pytest.param(-60, None, -60, id="time is earlier"),
        pytest.param(60, None, 0, id="time is later"),
        pytest.param(300, None, 0, id="time is as late as it may be"),
        pytest.param(None, -9_000, -9_000, id="redriven"),
        pytest.param(-9_060, -9_000, -9_060, id="redriven, time is earlier"),
        pytest.param(-8_940, -9_000, -9_000, id="redriven, time is later"),
        pytest.param(None, 9_000, 0, id="a forged original time is in the future"),
        pytest.param(-60, 9_000, -60, id="a forged original time, and time"),
    ],
)
def test_the_age_is_counted_from_the_earliest_time(
    form: str, time: int | None, original: int | None, counts: int, stock_celery: Send
) -> None:
    """A stated time, in the body or by a redrive, makes a command older and never younger."""
    extensions = {} if time is None else {"time": (SENT_AT + timedelta(seconds=time)).isoformat()}
    received = message(_in_form(form, extensions, stock_celery))
    if original is not None:
        received["original_sent_at"] = SENT_AT.timestamp() + original

    assert PARSER.parse(received).sent_at == SENT_AT + timedelta(seconds=counts)


@pytest.mark.parametrize("form", ["plain", "notification", "celery"])
@pytest.mark.parametrize(
    ("time", "original"),
    [
        pytest.param("2026-11-22T10:05:00.001Z", None, id="a millisecond too late"),
        pytest.param("9000-01-01T00:00:00Z", None, id="the year 9000"),
        pytest.param("9999-12-31T23:59:59.999Z", None, id="the last time there is"),
        pytest.param("2026-11-22T09:59:00Z", -600, id="after the original SentTimestamp"),
    ],
)
def test_a_time_in_the_future_is_malformed(
    form: str, time: str, original: int | None, stock_celery: Send
) -> None:
    """It would hide the command's age. A redrive, days later, does not make it valid."""
    received = message(_in_form(form, {"time": time}, stock_celery))
    if original is not None:
        received["original_sent_at"] = SENT_AT.timestamp() + original

    with pytest.raises(MalformedMessageError) as caught:
        PARSER.parse(received)

    assert caught.value.code is MalformedCode.INVALID_FIELD
    assert caught.value.detail.startswith("time: must be at most 5 minutes after")


def _in_form(form: str, extensions: dict[str, Any], stock_celery: Send) -> str:
    if form == "celery":
        kwargs = {"user_id": USER_ID}
        return stock_celery("biome.user.UnbanUser.v1", kwargs=kwargs, headers=extensions)
    text = json.dumps(cloud_event("UnbanUser", **extensions))
    return notification(text) if form == "notification" else text


@pytest.mark.parametrize(
    "traceparent",
    ["nonsense", TRACEPARENT.upper(), "00-" + "0" * 32 + "-00f067aa0ba902b7-01", 7, ""],
)
def test_an_invalid_trace_context_is_ignored(traceparent: object) -> None:
    """Invalid telemetry is ignored."""
    envelope = parse(json.dumps(cloud_event(traceparent=traceparent, tracestate="é")))

    assert envelope.traceparent is None
    assert envelope.tracestate is None


def test_null_attributes_are_absent_ones() -> None:
    """CloudEvents in JSON may use null for unset attributes."""
    event = cloud_event(time=None, actor=None, expectedversion=None, whatever=None)

    assert parse(json.dumps(event)) == parse(json.dumps(cloud_event(time=...)))


@pytest.mark.parametrize("name", ["RegisterUser", "CreateUser"])
def test_a_user_without_subject_gets_an_id_from_the_command(name: str) -> None:
    """UUIDv5 of the command id in the published namespace: any producer can compute it."""
    envelope = parse(json.dumps(cloud_event(name, subject=..., id=COMMAND_ID.upper())))

    assert envelope.command_id == COMMAND_ID
    assert envelope.user_id == "7642c4c5-062b-59e6-9b59-7f849c18442c"
    assert UUID(envelope.user_id).version == 5


@pytest.mark.parametrize("name", ["RequestPasswordReset", "ResetPassword"])
def test_a_reset_names_its_user_by_id_or_by_address(name: str) -> None:
    """One of the two is required, and both are refused."""
    data = EXAMPLES[name] | {"email": "Ada@Example.com"}
    by_email = cloud_event(name, subject=..., data=data)

    envelope = parse(json.dumps(by_email))

    assert envelope.user_id is None
    assert envelope.by_email is not None
    assert envelope.by_email.key == "ada@example.com"
    assert refusal(json.dumps(cloud_event(name, subject=...))).code == MalformedCode.MISSING_FIELD
    assert refusal(json.dumps(by_email | {"subject": USER_ID})).code == MalformedCode.INVALID_FIELD


# --- byte order marks ----------------------------------------------------------------------

MARK = "\ufeff"


def in_base64(text: str, encoding: str = "utf-8") -> str:
    """Return the base64 of a text."""
    return base64.b64encode(text.encode(encoding)).decode()


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda text: MARK + text, id="in front"),
        pytest.param(lambda text: f"\r\n{MARK}{MARK} {text}\n{MARK}\r\n", id="all around"),
        pytest.param(lambda text: f" \t\r\n{text}\r\n", id="blanks around"),
        pytest.param(lambda text: in_base64(MARK + text), id="in base64"),
        pytest.param(lambda text: MARK + in_base64(text) + "\n", id="before base64"),
        pytest.param(lambda text: base64.encodebytes((MARK + text).encode()).decode(), id="MIME"),
        pytest.param(lambda text: in_base64(text, "utf-16"), id="base64 of UTF-16 with a mark"),
        pytest.param(lambda text: in_base64(text, "utf-16-le"), id="base64 of UTF-16"),
        pytest.param(lambda text: in_base64(text, "utf-16-be"), id="base64 of UTF-16, big endian"),
        pytest.param(lambda text: in_base64(text, "utf-32"), id="base64 of UTF-32"),
        pytest.param(lambda text: notification(MARK + text), id="in SNS's envelope"),
        pytest.param(lambda text: MARK + notification(text), id="before SNS's envelope"),
        pytest.param(lambda text: notification(in_base64(MARK + text)), id="base64 in SNS"),
        pytest.param(lambda text: MARK + in_base64(MARK + notification(MARK + text)), id="all"),
    ],
)
def test_a_byte_order_mark_and_blanks_are_accepted(wrap: Callable[[str], str]) -> None:
    """Windows and spreadsheets write them. Redaction keeps everything that is not secret."""
    event = json.dumps(cloud_event(), ensure_ascii=False)

    assert parse(wrap(event)) == parse(event)
    wrong = json.dumps(cloud_event(data={**EXAMPLES["RegisterUser"], "x": 1, "password": "zq7"}))
    assert refusal(wrap(wrong)).detail == refusal(wrong).detail
    redacted = PARSER.redact(wrap(wrong))
    assert redacted is not None
    assert redacted == PARSER.redact(wrong)


def test_a_byte_order_mark_in_a_celery_message_is_accepted(stock_celery: Send) -> None:
    """In its body, before it, and in both."""
    outer = json.loads(task(stock_celery, base64=False))
    inner = base64.b64decode(outer["body"]).decode()
    marked = outer | {"body": in_base64(MARK + inner)}
    plain = outer | {
        "body": MARK + inner,
        "properties": {**outer["properties"], "body_encoding": "utf-8"},
    }

    expected = parse(json.dumps(outer))

    assert parse(MARK + json.dumps(outer)) == expected
    assert parse(MARK + in_base64(MARK + json.dumps(marked))) == expected
    assert parse(json.dumps(plain)) == expected


# --- the fingerprint -----------------------------------------------------------------------


def test_the_fingerprint_stands_for_what_was_asked() -> None:
    """The notation of values, and attributes beside the command, do not count."""
    envelope = parse(with_data(email="Ada@Example.com"))

    same = [
        with_data(email=" Ada@EXAMPLE.com "),
        with_data(first_name=" Ada "),
        json.dumps(cloud_event(**EXTENSIONS | {"expectedversion": ...})),
        json.dumps(cloud_event(subject=USER_ID.upper())),
    ]
    other = [
        with_data(email="ada@example.org"),
        with_data("CreateUser"),
        json.dumps(cloud_event(subject=...)),
        json.dumps(cloud_event(expectedversion=1)),
    ]

    assert {parse(body).content_hash for body in same} == {envelope.content_hash}
    assert envelope.content_hash not in {parse(body).content_hash for body in other}


def test_the_fingerprint_is_the_same_in_every_release() -> None:
    """It is stored for months: a different one would make redeliveries look like reused ids."""
    envelope = parse(json.dumps(cloud_event("UpdateProfile")))

    assert envelope.content_hash == "8933530e091b3bb5f88d928491b0cf80"
    assert parse(with_data("UpdateProfile", last_name=None)).content_hash == envelope.content_hash


# --- types ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["biome.user.RegisterUser.v2", "biome.user.MergeUsers.v1"])
def test_an_unknown_type_or_version_is_not_malformed(kind: str) -> None:
    """A producer may be deployed before the worker."""
    with pytest.raises(UnknownTypeError, match=kind):
        parse(json.dumps(cloud_event(type=kind, data={"anything": [1]})))


@pytest.mark.parametrize(
    "kind",
    [
        "RegisterUser",
        "biome.user.registerUser.v1",
        "biome.user.RegisterUser",
        "biome.order.RegisterUser.v1",
        "biome.user.UserRegistered.v1",
        "biome.user.RegisterUser.v0",
        "",
        1,
        ["x"],
        {"a": 1},
    ],
    ids=str,
)
def test_a_type_of_another_form_is_malformed(kind: object) -> None:
    """It will never become a command, and an event is not one."""
    error = refusal(json.dumps(cloud_event(type=kind)))

    assert error.code == MalformedCode.NOT_A_COMMAND
    assert error.detail.startswith("type: ")


# --- Celery --------------------------------------------------------------------------------


def task(send: Send, **options: Any) -> str:
    """Send a task, by default VerifyEmail, with stock Celery; return the SQS body."""
    kwargs = options.pop("kwargs", EXAMPLES["VerifyEmail"] | {"user_id": USER_ID})
    return send(
        options.pop("name", "biome.user.VerifyEmail.v1"),
        **{"kwargs": kwargs, "task_id": COMMAND_ID} | options,
    )


def test_a_celery_task_needs_no_headers(stock_celery: Send) -> None:
    """Its source is then Celery itself."""
    envelope = parse(task(stock_celery))

    assert envelope.source == DEFAULT_SOURCE
    assert envelope.content_hash == parse(json.dumps(cloud_event("VerifyEmail"))).content_hash


def test_celery_makes_up_a_command_id(stock_celery: Send) -> None:
    """A task without `task_id` gets a UUID from Celery, which is used."""
    command_id = parse(task(stock_celery, task_id=None)).command_id

    assert str(UUID(command_id)) == command_id


def test_celery_sends_dates_and_ids_as_objects(stock_celery: Send) -> None:
    """The JSON of kombu for `datetime` and `UUID` is parsed as the text of the value."""
    until, time = datetime(2026, 12, 24, 18, tzinfo=UTC), SENT_AT - timedelta(minutes=1)
    body = task(
        stock_celery,
        name="biome.user.BanUser.v1",
        kwargs={"reason": "Spam", "until": until, "user_id": UUID(USER_ID)},
        headers={"time": time},
    )

    envelope = parse(body)

    assert envelope.command == parse(json.dumps(cloud_event("BanUser"))).command
    assert envelope.user_id == USER_ID
    assert envelope.sent_at == time


def test_celery_expires_is_the_expiry(stock_celery: Send) -> None:
    """If the sender gives both, the earlier one counts."""
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=1)
    header = {"expirytime": (soon + timedelta(hours=1)).isoformat()}

    assert parse(task(stock_celery, expires=soon)).expires_at == soon
    assert parse(task(stock_celery, expires=soon, headers=header)).expires_at == soon
    assert refusal(
        task(stock_celery, expires=soon, headers={"expirytime": "soon"})
    ).detail.startswith("expirytime: ")


@pytest.mark.parametrize("enable_utc", [True, False])
@pytest.mark.parametrize("timezone", [None, "America/New_York", "Asia/Tokyo"])
def test_celery_expires_without_an_offset_is_utc(
    timezone: str | None, stock_celery: Send, *, enable_utc: bool
) -> None:
    """Like Celery on both ends, in any time zone of the sender; a number counts from now."""
    conf = {"enable_utc": enable_utc, "timezone": timezone}
    time = datetime.now(UTC).replace(microsecond=123_000) + timedelta(hours=1)
    naive = time.replace(tzinfo=None)

    for expires in (naive, naive.isoformat(), time, time.astimezone().isoformat()):
        assert parse(task(stock_celery, expires=expires, conf=conf)).expires_at == time
    for seconds in (3600, 3600.5):
        expires_at = parse(task(stock_celery, expires=seconds, conf=conf)).expires_at
        assert expires_at is not None
        assert abs(expires_at - time) < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2027-01-02T03:04:05", datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2027-01-02T03:04:05.678901", datetime(2027, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)),
        ("2027-01-02 03:04", datetime(2027, 1, 2, 3, 4, tzinfo=UTC)),
        ("20270102T030405Z", datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2027-01-02", datetime(2027, 1, 2, tzinfo=UTC)),
        ("2027-01-02T03:04:05+0100", datetime(2027, 1, 2, 2, 4, 5, tzinfo=UTC)),
    ],
)
def test_celery_expires_is_any_iso_8601_time(text: str, time: datetime, stock_celery: Send) -> None:
    """Senders in other languages write it themselves."""
    message = json.loads(task(stock_celery, base64=False))
    message["headers"]["expires"] = text

    assert parse(json.dumps(message)).expires_at == time


@pytest.mark.parametrize(
    "value", [60, 60.5, True, "", "soon", "0001-01-01T00:00:00+01:00", [], {}, {"__type__": "x"}]
)
def test_an_invalid_expiry_is_named_as_the_sender_wrote_it(
    value: object, stock_celery: Send
) -> None:
    """Celery's worker refuses these too; `expirytime` is another field."""
    message = json.loads(task(stock_celery, base64=False))
    message["headers"]["expires"] = value

    error = refusal(json.dumps(message))

    assert error.code == MalformedCode.INVALID_FIELD
    assert error.detail.startswith("expires: ")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"countdown": 5}, "headers.eta"),
        ({"eta": datetime(2027, 1, 1, tzinfo=UTC)}, "headers.eta"),
        ({"args": (token_hash(1),)}, "args"),
        ({"link": {"task": "x", "args": [], "kwargs": {}, "options": {}}}, "callbacks"),
        ({"link_error": {"task": "x", "args": [], "kwargs": {}, "options": {}}}, "errbacks"),
        ({"chain": [{"task": "x"}]}, "chain"),
        ({"chord": {"task": "x"}}, "chord"),
    ],
)
def test_what_celery_offers_and_the_worker_does_not_is_refused(
    options: dict[str, Any], field: str, stock_celery: Send
) -> None:
    """No option of a sender is ignored silently."""
    error = refusal(task(stock_celery, **options))

    assert error.code == MalformedCode.NOT_SUPPORTED
    assert error.detail.startswith(f"{field}: ")


def test_a_compressed_or_pickled_task_is_refused(stock_celery: Send) -> None:
    """JSON in UTF-8 is the only content; the reason names the difference."""
    compressed = refusal(task(stock_celery, compression="zlib"))
    yaml = json.loads(task(stock_celery, base64=False)) | {"content-type": "application/x-yaml"}
    latin = json.loads(task(stock_celery, base64=False)) | {"content-encoding": "latin-1"}

    for error, field in (
        (compressed, "headers.compression"),
        (refusal(json.dumps(yaml)), "content-type"),
        (refusal(json.dumps(latin)), "content-encoding"),
    ):
        assert error.code == MalformedCode.INVALID_ENCODING
        assert error.detail.startswith(f"{field}: ")


@pytest.mark.parametrize(
    "inner", ["[]", "{}", "[[],{}]", "[[],{},{},{}]", "[{},[],{}]", "[[],[],{}]", "null", '"x"']
)
def test_a_task_body_of_another_shape_is_refused(inner: str, stock_celery: Send) -> None:
    """Protocol 2 is [args, kwargs, embed]."""
    outer = json.loads(task(stock_celery, base64=False))
    outer["body"] = base64.b64encode(inner.encode()).decode()

    assert refusal(json.dumps(outer)).code == MalformedCode.NOT_A_COMMAND


def test_a_task_body_may_be_plain_text(stock_celery: Send) -> None:
    """This is what kombu writes with `body_encoding` set to utf-8."""
    outer = json.loads(task(stock_celery, base64=False))
    outer["body"] = base64.b64decode(outer["body"]).decode()
    outer["properties"]["body_encoding"] = "utf-8"

    assert parse(json.dumps(outer)) == parse(task(stock_celery))


# --- commands out --------------------------------------------------------------------------


def test_a_command_is_rendered_by_name_or_by_type() -> None:
    """Both give the same message, which the parser accepts."""
    data = EXAMPLES["VerifyEmail"]
    given: dict[str, Any] = {
        "command_id": COMMAND_ID,
        "user_id": USER_ID,
        "source": "/x",
        "time": SENT_AT,
        "correlationid": "c",
        "actor": None,
    }

    body = render_command("VerifyEmail", data, **given)

    assert body == render_command("biome.user.VerifyEmail.v1", data, **given)
    assert parse(body) == replace(
        parse(json.dumps(cloud_event("VerifyEmail", source="/x"))), correlation_id="c"
    )
    with pytest.raises(ValueError, match="unknown command"):
        render_command("Verify", data, command_id=COMMAND_ID, source="/x")
