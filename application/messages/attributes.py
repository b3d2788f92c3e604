"""The attributes of a CloudEvent that carries a command, and their validation.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, NotRequired

from pydantic import BeforeValidator, TypeAdapter, WithJsonSchema

from application.messages.errors import MalformedCode, MalformedMessageError
from application.messages.fields import record, text
from domain.errors import InvalidValueError
from domain.fields import ID, TIME, Text

SPEC_VERSION = "1.0"
JSON_TYPE = "application/json"
MAX_SOURCE = 256
MAX_ACTOR = 256
MAX_CORRELATION_ID = 128
MAX_TRACESTATE = 512  # what W3C Trace Context asks everyone to carry at least
MAX_INTEGER = 2**31 - 1  # of CloudEvents' type Integer

_SOURCE = re.compile(r"[A-Za-z0-9!#$%&'()*+,./:;=?@\[\]_~-]+")  # RFC 3986's characters
_PATH = re.compile(r"(https?://[a-z0-9.-]{1,100})?(/[a-z0-9][a-z0-9-]{0,31}){1,4}")
_JSON_TYPE = re.compile(r"application/json(\s*;\s*charset=\"?utf-8\"?)?\s*", re.IGNORECASE)
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_EXTENSION = re.compile(r"[a-z0-9]{1,64}")
_DIGITS = re.compile(r"0|[1-9][0-9]{0,9}")


def _source(value: str) -> str:
    if len(value) > MAX_SOURCE or not _SOURCE.fullmatch(value):
        raise InvalidValueError(f"must be a URI reference of 1 to {MAX_SOURCE} characters")
    return value


def _path(value: str) -> str:
    if not _PATH.fullmatch(value):
        raise InvalidValueError("must be a path of words, without query and user")
    return value


def _printable(limit: int) -> Any:
    def check(value: str) -> str:
        if not 1 <= len(value) <= limit or not value.isprintable():
            raise InvalidValueError(f"must have 1 to {limit} printable characters")
        return value

    return text(Text(parse=check, min_length=1, max_length=limit))


def check_actor(value: str) -> str:
    """Return a valid value of the extension `actor` unchanged; raises `InvalidValueError`."""
    if not 1 <= len(value) <= MAX_ACTOR or not value.isprintable() or "@" in value:
        raise InvalidValueError(
            f"must have 1 to {MAX_ACTOR} printable characters without @: an id, not an address"
        )
    return value


def _json_type(value: str) -> str:
    if not _JSON_TYPE.fullmatch(value):
        raise InvalidValueError(f"must be {JSON_TYPE}")
    return value


def _version(value: object) -> int:
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_INTEGER:
        raise InvalidValueError(f"must be an integer from 0 to {MAX_INTEGER}")
    return value


# An invalid trace context is ignored: telemetry must not make a command fail.
def _traceparent(value: object) -> str | None:
    return value if isinstance(value, str) and _TRACEPARENT.fullmatch(value) else None


def _tracestate(value: object) -> str | None:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_TRACESTATE:
        return None
    return value if value.isascii() and value.isprintable() else None


def _checked(kind: Any, check: Callable[[object], Any], **schema: Any) -> Any:
    return Annotated[kind, BeforeValidator(check), WithJsonSchema(schema)]


_REQUIRED: dict[str, Any] = {
    "id": text(ID),
    "source": text(
        Text(parse=_source, format="uri-reference", min_length=1, max_length=MAX_SOURCE)
    ),
}
_OPTIONAL: dict[str, Any] = {
    "subject": text(ID),
    "time": text(TIME),
    "datacontenttype": text(Text(parse=_json_type, pattern=f"^{JSON_TYPE}")),
    "expectedversion": _checked(int, _version, type="integer", minimum=0, maximum=MAX_INTEGER),
    "expirytime": text(TIME),
    "correlationid": _printable(MAX_CORRELATION_ID),
    "actor": text(Text(parse=check_actor, min_length=1, max_length=MAX_ACTOR, pattern="^[^@]+$")),
    "traceparent": _checked(str | None, _traceparent, type="string"),
    "tracestate": _checked(str | None, _tracestate, type="string"),
}
ATTRIBUTES: dict[str, Any] = _REQUIRED | _OPTIONAL
"""The attributes and extensions that the worker uses, except `specversion`, `type` and `data`."""

_RESERVED = ATTRIBUTES.keys() | {"specversion", "type", "data"}


@cache  # the schema of every message has the attributes
def attributes_adapter() -> TypeAdapter[dict[str, Any]]:
    """Return the validator of the attributes, which returns their values by name."""
    optional = {name: NotRequired[kind] for name, kind in _OPTIONAL.items()}
    return record("Attributes", _REQUIRED | optional, extra="ignore")


@cache
def attribute_adapters() -> dict[str, TypeAdapter[Any]]:
    """Return the validator of each attribute by name; an ignored trace context becomes `None`."""
    return {name: TypeAdapter(kind) for name, kind in ATTRIBUTES.items()}


@cache
def shown_attribute_adapters() -> dict[str, TypeAdapter[Any]]:
    """Return by name the validators of the values that dead letters and logs show of attributes.

    An attribute with free text is shown only in a form that leaves no room for a secret.
    """
    shown = {"source": text(Text(parse=_path)), "actor": text(ID), "correlationid": text(ID)}
    return attribute_adapters() | {
        name: TypeAdapter(kind) for name, kind in {**shown, "tracestate": None}.items()
    }


def check_extensions(event: dict[str, Any]) -> None:
    """Check that unknown attributes are valid extensions, which CloudEvents says to ignore.

    Raises:
        MalformedMessageError: CloudEvents does not allow a name or a value.
    """
    for name in event.keys() - _RESERVED:
        if name == "data_base64":
            raise MalformedMessageError(
                MalformedCode.NOT_SUPPORTED, "data_base64: is not supported; use JSON in data"
            )
        if not _EXTENSION.fullmatch(name):
            raise MalformedMessageError(
                MalformedCode.UNKNOWN_FIELD,
                "an unknown attribute: its name must have 1 to 64 lower-case letters and digits",
            )
        if not isinstance(event[name], str | int):
            raise MalformedMessageError(
                MalformedCode.INVALID_FIELD,
                "an unknown attribute: must be a string, an integer or a boolean",
            )
