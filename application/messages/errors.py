"""Errors of messages that are not valid commands. No text contains a value of the message."""

from __future__ import annotations

import re
from enum import StrEnum

# No hash and hardly a token looks like this, and no field name is longer.
_SAFE_NAME = re.compile(r"[A-Za-z_][A-Za-z_-]{0,39}[0-9]{0,2}")
_SHOWN_TYPE = re.compile(r"biome\.user\.[A-Z][A-Za-z]{0,39}\.v[1-9][0-9]?")


class MalformedCode(StrEnum):
    """The `error_code` of a dead letter whose body could not be parsed."""

    NOT_JSON = "NotJson"
    """Neither JSON nor base64 of JSON."""
    INVALID_ENCODING = "InvalidEncoding"
    """Invalid base64, UTF-8, content type or compression."""
    TOO_LARGE = "TooLarge"
    """More than SQS carries (1 MiB)."""
    TOO_DEEP = "TooDeep"
    """Nested deeper than any valid message."""
    DUPLICATE_FIELD = "DuplicateField"
    """A JSON object names a field twice: receivers would disagree on its value."""
    NOT_A_COMMAND = "NotACommand"
    """JSON, but no CloudEvent, SNS notification or Celery message with a user command."""
    NOT_SUPPORTED = "NotSupported"
    """Uses an unsupported feature, such as a delay (`eta`) or a callback."""
    MISSING_FIELD = "MissingField"
    """A required attribute or field is missing."""
    UNKNOWN_FIELD = "UnknownField"
    """A field that the command does not have."""
    INVALID_FIELD = "InvalidField"
    """A value breaks the rule of its field."""


class MalformedMessageError(Exception):
    """A message can never become a valid command: it must be dead-lettered at once."""

    def __init__(self, code: MalformedCode, detail: str) -> None:
        """Store the kind of error and the detail: the field and the rule, never a value."""
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class UnknownTypeError(Exception):
    """A command type or version that this version of the worker does not know."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def shown_type(value: object) -> str | None:
    """Return a message type that may be shown although it is unknown; else `None`.

    Any other text may be a value in the wrong place.
    """
    return value if isinstance(value, str) and _SHOWN_TYPE.fullmatch(value) else None


def field_path(parts: tuple[str | int, ...]) -> str:
    """Return the path of a field for the sender, e.g. `data.roles[1]`.

    A name that does not look like an identifier, has more than 40 characters or contains digits
    could be a misplaced value, so it is not repeated.
    """
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            name = part if _SAFE_NAME.fullmatch(part) else "an unknown field"
            path += f".{name}" if path else name
    return path
