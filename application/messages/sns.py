"""Read SNS notifications, for topics that deliver commands without raw message delivery."""

from __future__ import annotations

from typing import Any

from application.messages.encoding import decode_body
from application.messages.errors import MalformedCode, MalformedMessageError


def looks_like_notification(message: dict[str, Any]) -> bool:
    """Return True if a JSON object has the shape of an SNS notification."""
    return "Type" in message and "TopicArn" in message


def read_notification(message: dict[str, Any]) -> Any:
    """Return the JSON in a notification.

    Raises:
        MalformedMessageError: not a notification, or its message is not JSON or base64 of JSON.
    """
    if message["Type"] != "Notification":
        raise MalformedMessageError(MalformedCode.NOT_A_COMMAND, "Type: must be Notification")
    text = message.get("Message")
    if not isinstance(text, str):
        raise MalformedMessageError(MalformedCode.MISSING_FIELD, "Message: is missing")
    return decode_body(text)
