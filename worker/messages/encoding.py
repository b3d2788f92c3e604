"""JSON and base64, read strictly and within limits."""

from __future__ import annotations

import base64
import json
from typing import Any, NoReturn

from worker.messages.errors import MalformedCode, MalformedMessageError

MAX_BODY = 1_048_576  # bytes; SQS carries no more
MAX_DEPTH = 32  # the deepest valid message has 5 levels

compact = json.JSONEncoder(separators=(",", ":")).encode
"""Write JSON compactly in ASCII, so that no character is one that SQS or SNS refuses."""
canonical = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode
"""Write JSON in one way only."""


def decode_json(text: str) -> Any:
    """Read JSON: no duplicate names, no NaN, no more than `MAX_DEPTH` levels.

    Raises:
        MalformedMessageError: the text is not such JSON, or longer than `MAX_BODY`.
    """
    if len(text) > MAX_BODY:
        raise MalformedMessageError(MalformedCode.TOO_LARGE, f"more than {MAX_BODY} bytes")
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise _too_deep() from None
    except ValueError:  # a JSONDecodeError, or an integer of thousands of digits
        raise MalformedMessageError(MalformedCode.NOT_JSON, "the body is not JSON") from None
    if text.count("{") + text.count("[") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH):
        raise _too_deep()
    return value


def decode_base64(text: str) -> str:
    """Read base64 of UTF-8 text.

    Raises:
        MalformedMessageError: the text is not that.
    """
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:  # binascii.Error and UnicodeDecodeError are ValueErrors
        raise MalformedMessageError(
            MalformedCode.INVALID_ENCODING, "the body is not base64 of UTF-8 text"
        ) from None


def encode_base64(text: str) -> str:
    """Write text as base64 of its UTF-8 bytes."""
    return base64.b64encode(text.encode()).decode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise MalformedMessageError(MalformedCode.DUPLICATE_FIELD, "an object names a field twice")
    return result


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("JSON has no NaN and no infinity")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)


def _deeper_than(value: object, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return False
    return any(isinstance(value, dict | list) for value in level)


def _children(value: object) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _too_deep() -> MalformedMessageError:
    return MalformedMessageError(
        MalformedCode.TOO_DEEP, f"the body is nested more than {MAX_DEPTH} levels deep"
    )
