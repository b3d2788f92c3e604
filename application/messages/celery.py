"""Read messages of Celery's protocol 2, as kombu's SQS transport writes them, as CloudEvents.

The task's name is the command's type, its id the command id, its keyword arguments the data
plus `user_id`; extensions travel as headers.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from application.messages.encoding import decode_base64, decode_json
from application.messages.errors import MalformedCode, MalformedMessageError
from domain.errors import InvalidValueError
from domain.values import parse_time, render_time

DEFAULT_SOURCE = "urn:celery"
"""The `source` of a task without one in its headers."""
_HEADERS = (
    "source",
    "time",
    "correlationid",
    "actor",
    "traceparent",
    "tracestate",
    "expectedversion",
    "expirytime",
)
_UNSUPPORTED_EMBEDDED = ("callbacks", "errbacks", "chain", "chord")
_TYPED = frozenset({"__type__", "__value__"})
_BODY_PARTS = 3  # args, kwargs, embed


def looks_like_celery(message: dict[str, Any]) -> bool:
    """Return True if a JSON object has the shape of a kombu message."""
    return isinstance(message.get("headers"), dict) and isinstance(message.get("body"), str)


def read_celery(message: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a task message as the attributes of a CloudEvent.

    Raises:
        MalformedMessageError: not a task message, or one with an unsupported feature
            (`eta`, `countdown`, positional arguments, callbacks).
    """
    headers = message["headers"]
    if not isinstance(headers.get("task"), str):
        raise MalformedMessageError(MalformedCode.NOT_A_COMMAND, "headers.task: is missing")
    if headers.get("eta") is not None:
        raise MalformedMessageError(
            MalformedCode.NOT_SUPPORTED, "headers.eta: eta and countdown are not supported"
        )
    event = _event(headers, _read_body(message))
    event["expirytime"] = _earlier(_expires(headers), event.get("expirytime"))
    return event


def find_task(headers: dict[str, Any], body: Any) -> dict[str, Any]:
    """Return the attributes of a CloudEvent in a task that `read_celery` does not accept.

    Args:
        headers: those of protocol 2, or the message of protocol 1.
        body: the decoded `[args, kwargs, ...]`, or any other value if it cannot be read.
    """
    match body:
        case [_, dict(kwargs), *_]:
            return _event(headers, {name: _plain(value) for name, value in kwargs.items()})
    return _event(headers, {})


def _event(headers: dict[str, Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    attributes = {name: _plain(headers[name]) for name in _HEADERS if name in headers}
    attributes.setdefault("source", DEFAULT_SOURCE)
    return attributes | {
        "specversion": "1.0",
        "type": headers["task"],
        "id": headers.get("id"),
        "subject": kwargs.pop("user_id", None),
        "data": kwargs,
    }


def _read_body(message: dict[str, Any]) -> dict[str, Any]:
    body = decode_json(_decode_body(message))
    match body:
        case [list(args), dict(kwargs), dict(embedded)] if len(body) == _BODY_PARTS:
            pass
        case _:
            raise MalformedMessageError(
                MalformedCode.NOT_A_COMMAND, "body: must be [args, kwargs, embed]"
            )
    if args:
        raise MalformedMessageError(
            MalformedCode.NOT_SUPPORTED, "args: positional arguments are not supported"
        )
    for name in _UNSUPPORTED_EMBEDDED:
        if embedded.get(name):
            raise MalformedMessageError(
                MalformedCode.NOT_SUPPORTED, f"{name}: links, chains and chords are not supported"
            )
    return {name: _plain(value) for name, value in kwargs.items()}


def _decode_body(message: dict[str, Any]) -> str:
    if message["headers"].get("compression") is not None:
        raise MalformedMessageError(
            MalformedCode.INVALID_ENCODING, "headers.compression: must not be set"
        )
    if message.get("content-type") != "application/json":
        raise MalformedMessageError(
            MalformedCode.INVALID_ENCODING, "content-type: must be application/json"
        )
    if message.get("content-encoding") not in ("utf-8", "UTF-8", None):
        raise MalformedMessageError(
            MalformedCode.INVALID_ENCODING, "content-encoding: must be utf-8"
        )
    properties = message.get("properties")
    encoding = properties.get("body_encoding") if isinstance(properties, dict) else None
    body: str = message["body"]
    return decode_base64(body) if encoding == "base64" else body


def _plain(value: object) -> object:
    """Return the string that kombu's form of a `datetime` or a `UUID` stands for."""
    if not isinstance(value, dict) or value.keys() != _TYPED:
        return value
    match value:
        case {"__type__": "datetime", "__value__": str(time)}:
            return time
        case {"__type__": "uuid", "__value__": {"hex": str(digits)}}:
            try:
                return str(UUID(hex=digits))
            except ValueError:
                return value
    return value


def _expires(headers: dict[str, Any]) -> str | None:
    """Return the expiry that `send_task(expires=...)` sets, in UTC.

    Celery writes `datetime.isoformat()`, and takes one without an offset as UTC on both ends
    (`celery.utils.time.maybe_make_aware`), whatever the sender's `timezone` and `enable_utc`.
    """
    value = _plain(headers.get("expires"))
    if value is None:
        return None
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            return render_time(time if time.tzinfo else time.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        pass
    raise MalformedMessageError(MalformedCode.INVALID_FIELD, "expires: must be an ISO 8601 time")


def _earlier(expires: str | None, expirytime: object) -> object:
    """Return the earlier of Celery's own expiry and the extension's."""
    if expires is None or expirytime is None:
        return expirytime if expires is None else expires
    return min(expires, expirytime, key=_time)


def _time(value: object) -> datetime:
    try:
        if isinstance(value, str):
            return parse_time(value)
    except InvalidValueError:
        pass
    raise MalformedMessageError(
        MalformedCode.INVALID_FIELD, "expirytime: must be an RFC 3339 time with offset"
    )
