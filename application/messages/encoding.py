"""Decode JSON and base64 strictly and within limits."""

from __future__ import annotations

import base64
import json
import re
from typing import Any, NoReturn

from application.messages.errors import MalformedCode, MalformedMessageError

MAX_BODY = 1_048_576  # bytes; SQS carries no more
MAX_DEPTH = 32  # the deepest valid message has 5 levels

# Written in front of a text by Windows and by spreadsheets; RFC 8259, 8.1 allows readers to ignore
# it. A file that was put together from others has it in the middle of blanks, or at its end.
BYTE_ORDER_MARK = "\ufeff"
_AROUND = f"{BYTE_ORDER_MARK} \t\r\n"
_BASE64 = re.compile(r"[A-Za-z0-9+/]{6,}={0,2}")
_MIN_BASE64 = 8  # characters; less is a mistyped word rather than a broken message

compact = json.JSONEncoder(separators=(",", ":")).encode
"""Encode as compact JSON in ASCII, because SQS and SNS refuse some characters."""
canonical = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode
"""Encode as JSON with sorted names, so that equal values have equal texts."""


def trimmed(text: str) -> str:
    """Return a text without the blanks and byte order marks around it."""
    return text.strip(_AROUND)


def base64_within(text: str) -> str | None:
    """Return trimmed base64 without the line breaks of MIME; `None` for other text."""
    joined = text.replace("\r", "").replace("\n", "")
    is_base64 = len(joined) >= _MIN_BASE64 and _BASE64.fullmatch(joined)
    return joined if is_base64 else None


def decode_body(body: str) -> Any:
    """Parse JSON, or base64 of JSON as kombu's SQS transport writes it by default.

    Raises:
        MalformedMessageError: the body is neither, or longer than `MAX_BODY`.
    """
    body = trimmed(body)
    if body[:1] in ("{", "["):
        return decode_json(body)
    try:
        return decode_json(body)
    except MalformedMessageError as error:
        encoded = base64_within(body)
        if encoded is None or error.code is MalformedCode.TOO_LARGE:
            raise
    return decode_json(decode_base64(encoded))


def decode_json(text: str) -> Any:
    """Parse JSON without duplicate names, NaN, or more than `MAX_DEPTH` levels.

    Byte order marks around it are ignored.

    Raises:
        MalformedMessageError: the text is not such JSON, or longer than `MAX_BODY`.
    """
    if len(text) > MAX_BODY:
        raise MalformedMessageError(MalformedCode.TOO_LARGE, f"more than {MAX_BODY} bytes")
    try:
        value = _DECODER.decode(trimmed(text))
    except RecursionError:
        raise _too_deep() from None
    except ValueError:  # a JSONDecodeError, or an integer of thousands of digits
        raise MalformedMessageError(MalformedCode.NOT_JSON, "the body is not JSON") from None
    if text.count("{") + text.count("[") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH):
        raise _too_deep()
    return value


def decode_base64(text: str) -> str:
    """Return the text in base64 of JSON, in UTF-8 or, as Windows writes it, UTF-16 or UTF-32.

    Raises:
        MalformedMessageError: the text is not that.
    """
    try:
        content = base64.b64decode(text, validate=True)
        return content.decode(json.detect_encoding(content))
    except ValueError:  # binascii.Error and UnicodeDecodeError are ValueErrors
        raise MalformedMessageError(
            MalformedCode.INVALID_ENCODING, "the body is not base64 of UTF-8 text"
        ) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise MalformedMessageError(
            MalformedCode.DUPLICATE_FIELD, "an object contains a field twice"
        )
    return result


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not valid in JSON")


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
