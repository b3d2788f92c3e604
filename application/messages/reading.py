"""Find the CloudEvent in a body of any accepted form, or in one that is almost of such a form."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

from application.messages.celery import find_task, looks_like_celery, read_celery
from application.messages.encoding import (
    base64_within,
    decode_base64,
    decode_body,
    decode_json,
    trimmed,
)
from application.messages.errors import MalformedCode, MalformedMessageError

_MAX_WRAPPINGS = 4  # base64, Celery, base64, JSON


class Form(Enum):
    """The form in which a body contains its CloudEvent."""

    PLAIN = auto()
    """The body is the CloudEvent."""
    WRAPPED = auto()
    """In base64, an SNS notification or a Celery message that the parser accepts."""
    DAMAGED = auto()
    """In a form that the parser does not accept."""


def read_event(body: str) -> dict[str, Any]:
    """Return the attributes of the CloudEvent in a body of any accepted form, not validated.

    Raises:
        MalformedMessageError: the body contains no CloudEvent.
    """
    return _unwrapped(decode_body(body))


def find_event(body: str) -> tuple[dict[str, Any], Form] | None:
    """Return the CloudEvent in a body, not validated, and its form; `None` without a CloudEvent.

    Also finds it in a form that the parser does not accept, such as a Celery message with
    positional arguments or of protocol 1, or JSON in a JSON string.
    """
    try:
        message = decode_body(body)
        event = _unwrapped(message)
    except MalformedMessageError:
        found = _find(body, _MAX_WRAPPINGS)
        return None if found is None else (found, Form.DAMAGED)
    if "specversion" not in event and (found := _find(event, _MAX_WRAPPINGS)) is not None:
        return found, Form.DAMAGED
    plain = event is message and trimmed(body).startswith("{")
    return event, Form.PLAIN if plain else Form.WRAPPED


def _unwrapped(message: Any) -> dict[str, Any]:
    if isinstance(message, dict) and "Type" in message and "TopicArn" in message:
        message = _read_notification(message)
    if not isinstance(message, dict):
        raise MalformedMessageError(MalformedCode.NOT_A_COMMAND, "must be one JSON object")
    if "specversion" not in message and looks_like_celery(message):
        return read_celery(message)
    return message


def _read_notification(message: dict[str, Any]) -> Any:
    """Return the JSON in a notification of SNS, as topics deliver it without raw delivery."""
    if message["Type"] != "Notification":
        raise MalformedMessageError(MalformedCode.NOT_A_COMMAND, "Type: must be Notification")
    text = message.get("Message")
    if not isinstance(text, str):
        raise MalformedMessageError(MalformedCode.MISSING_FIELD, "Message: is missing")
    return decode_body(text)


def _find(value: Any, wrappings: int) -> dict[str, Any] | None:
    match value:
        case str() if wrappings:
            return _find(_decoded(value), wrappings - 1)
        case {"specversion": _}:
            event: dict[str, Any] = value
            return event
        case {"task": str()}:  # protocol 1
            return find_task(value, [value.get("args"), value.get("kwargs")])
        case {"headers": {"task": str()} as headers, "body": str(text)}:
            return find_task(headers, _decoded(text))
        case {"Message": str(text)} | {"body": str(text)}:
            return _find(text, wrappings)
    return None


def _decoded(text: str) -> Any:
    """Return the JSON in a text, or in base64; `None` for other text."""
    text = trimmed(text)
    encoded = base64_within(text)
    try:
        if encoded is not None:
            return decode_json(decode_base64(encoded))
        return decode_json(text) if text[:1] in ("{", "[", '"') else None
    except MalformedMessageError:
        return None
