"""Why a message is not a command. No text here ever holds a value that a sender gave."""

from __future__ import annotations

import re
from enum import StrEnum

# No hash and hardly a token looks like this; nor is any name of ours longer.
_SAFE_NAME = re.compile(r"[A-Za-z_][A-Za-z_-]{0,39}[0-9]{0,2}")


class MalformedCode(StrEnum):
    """The `error_code` of a dead letter whose body could not be understood."""

    NOT_JSON = "NotJson"
    """Neither JSON nor base64 of JSON."""
    INVALID_ENCODING = "InvalidEncoding"
    """Base64, UTF-8, content type or compression of a body within are not as they should be."""
    TOO_LARGE = "TooLarge"
    """More than SQS carries (1 MiB)."""
    TOO_DEEP = "TooDeep"
    """Nested beyond any message's need."""
    DUPLICATE_FIELD = "DuplicateField"
    """A JSON object names a field twice: receivers would disagree on its value."""
    NOT_A_COMMAND = "NotACommand"
    """JSON, but no CloudEvent, SNS notification or Celery message with a user command."""
    NOT_SUPPORTED = "NotSupported"
    """Asks for what the worker does not do, such as a delay (`eta`) or a callback."""
    MISSING_FIELD = "MissingField"
    """A required attribute or field is not there."""
    UNKNOWN_FIELD = "UnknownField"
    """A field that the command does not have."""
    INVALID_FIELD = "InvalidField"
    """A value breaks the rule of its field."""


class MalformedMessageError(Exception):
    """A message can never be understood: it belongs into the dead-letter queue, at once."""

    def __init__(self, code: MalformedCode, detail: str, body: str | None = None) -> None:
        """Say why.

        Args:
            code: the kind of mistake.
            detail: the field and the rule, for its sender; never a value.
            body: what the dead letter has to carry when the original held a secret.
        """
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.body = body


class UnknownTypeError(Exception):
    """A command type or version that this worker does not know, perhaps not yet."""

    def __init__(self, detail: str) -> None:
        """Say which attribute names what is not known."""
        super().__init__(detail)
        self.detail = detail


def field_path(parts: tuple[str | int, ...]) -> str:
    """Name a field for its sender, e.g. `data.roles[1]`.

    A name that is none (not identifier-like, over 40 characters, or with digits in it) could be
    a value that slipped into the wrong place, so it is not repeated.
    """
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            name = part if _SAFE_NAME.fullmatch(part) else "an unknown field"
            path += f".{name}" if path else name
    return path
