"""Remove secrets from dead letters: a secret that was sent in clear text must not be stored there.

The value of a field whose name suggests a secret is replaced by `[redacted]`, unless it has a form
that is not secret (a hash of the right kind, a token's id). Fields are found at any depth, also in
the message of an SNS notification and in the body of a Celery message. A body
that cannot be parsed and may contain a secret is replaced as a whole: the dead letter's
`original_message_id` identifies the message for its sender.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from application.messages.encoding import (
    MAX_BODY,
    base64_within,
    compact,
    decode_base64,
    decode_json,
    encode_base64,
    trimmed,
)
from application.messages.errors import MalformedMessageError
from domain.errors import InvalidValueError
from domain.values import PasswordHash, TokenHash, parse_ciphertext, parse_id

REDACTED = "[redacted]"
UNREADABLE = compact(
    {"redacted": REDACTED, "reason": "the body could not be parsed and may have contained a secret"}
)

_WORDS = r"passw|passphrase|pwd|secret|token|hash|cipher|credential|private.?key|api.?key|otp"
_NAME = re.compile(
    r"passw|passphrase|pwd|secret|token|hash|cipher|credentials?$|privatekey|apikey|otp$"
    r"|recoverycode|^code$|^subscribeurl$"
)
_NOT_LETTERS = re.compile(r"[^a-z0-9]")
# In a text that cannot be parsed: a tell-tale word, an escape that could hide one, or a run
# of base64 that could hide anything.
_SUSPECT = re.compile(rf"{_WORDS}|\\u|%[0-9a-f]{{2}}|[a-z0-9+/=_]{{24}}", re.IGNORECASE)
_QUOTED_NAME = re.compile(r"""['"]([^'"]{1,200})['"]\s{0,20}[:=]""")
"""A field in the text of a dict, as a log line or a `repr` has it; bounded, so that the search
takes time in proportion to the text."""
_WORD = re.compile(_WORDS, re.IGNORECASE)
_REPRESENTATIONS = ("argsrepr", "kwargsrepr")
_CONTAINERS = frozenset({"message", "body", "data", "database64"})
"""Fields whose text is itself a message."""
_MAX_WRAPPINGS = 4  # base64, Celery, base64, JSON


def redact(body: str) -> str | None:
    """Return a body without its secrets; `None` if it contains no secret."""
    redacted = _redact_text(body, UNREADABLE, _MAX_WRAPPINGS)
    if redacted is None or len(redacted) <= MAX_BODY:
        return redacted
    return UNREADABLE


def _redact_text(text: str, unreadable: str, wrappings: int) -> str | None:
    decoded, encode = _decode(text)
    if decoded is None or wrappings == 0:
        return unreadable if _SUSPECT.search(text.replace("\0", "")) else None
    if isinstance(decoded, str):  # JSON within a JSON string
        clean = _redact_text(decoded, REDACTED, wrappings - 1) or decoded
    else:
        clean = _clean(decoded, wrappings)
    return None if clean is decoded else encode(compact(clean))


def _decode(text: str) -> tuple[Any, Callable[[str], str]]:
    """Parse JSON, or base64 of JSON; return `None` for other text."""
    text = trimmed(text)
    encoded = base64_within(text)
    try:
        if encoded is not None:
            return decode_json(decode_base64(encoded)), encode_base64
        if text[:1] in ("{", "[", '"'):
            return decode_json(text), str
    except MalformedMessageError:
        pass
    return None, str


def _clean(value: Any, wrappings: int) -> Any:
    """Return the value without secrets; the same object if it contains no secret.

    The recursion is bounded: `decode_json` refuses JSON that is nested too deep.
    """
    match value:
        case dict():
            return _clean_object(value, wrappings)
        case list():
            clean = [_clean(item, wrappings) for item in value]
            match value:
                case [list(args), dict(), dict()]:
                    # Celery's arguments: what stands at which position is not known here
                    clean[0] = _hidden(args)
            return _unless_same(value, clean)
        case str():
            return _clean_text(value, wrappings)
    return value


def _clean_text(value: str, wrappings: int) -> str:
    """Clean a text that is itself a message; redact a text that contains a secret field."""
    if isinstance(_decode(value)[0], dict | list):
        return _redact_text(value, REDACTED, wrappings - 1) or value
    spelt_out = any(_WORD.search(match[1]) for match in _QUOTED_NAME.finditer(value))
    return REDACTED if spelt_out else value


def _clean_object(value: dict[str, Any], wrappings: int) -> dict[str, Any]:
    headers = value.get("headers")
    celery = isinstance(headers, dict)  # which repeats the arguments there as text
    clean = {
        name: item if celery and name == "headers" else _clean_field(name, item, wrappings)
        for name, item in value.items()
    }
    changed = any(clean[name] is not item for name, item in value.items())
    if isinstance(headers, dict):
        vouched = not changed and _is_readable(value.get("body"))
        clean["headers"] = _clean_headers(headers, wrappings, vouched=vouched)
        changed = changed or clean["headers"] is not headers
    return clean if changed else value


def _clean_headers(headers: dict[str, Any], wrappings: int, *, vouched: bool) -> dict[str, Any]:
    """Clean headers, except the representations of a body that contains no secret."""
    texts = {name: headers[name] for name in _REPRESENTATIONS if headers.get(name)}
    rest = {name: value for name, value in headers.items() if name not in texts}
    clean = _clean_object(rest, wrappings)
    if not vouched and any(text != REDACTED for text in texts.values()):
        return clean | dict.fromkeys(texts, REDACTED)
    return headers if clean is rest else clean | texts


def _is_readable(body: object) -> bool:
    """Return True if a Celery body can be parsed."""
    return isinstance(body, str) and isinstance(_decode(body)[0], dict | list)


def _clean_field(name: str, value: Any, wrappings: int) -> Any:
    plain = _NOT_LETTERS.sub("", name.lower())
    if _NAME.search(plain):
        return _clean_secret(plain, value)
    if plain == "args" and isinstance(value, list):  # of Celery's protocol 1
        return _hidden(value)
    if plain in _CONTAINERS and isinstance(value, str):
        return _redact_text(value, REDACTED, wrappings - 1) or value
    return _clean(value, wrappings)


def _hidden(values: list[Any]) -> list[Any]:
    """Redact every value; return the same list if all values are redacted."""
    return values if all(value == REDACTED for value in values) else [REDACTED] * len(values)


def _unless_same(before: list[Any], after: list[Any]) -> list[Any]:
    same = all(a is b for a, b in zip(before, after, strict=True))
    return before if same else after


def _clean_secret(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool) or value == REDACTED:
        return value
    if isinstance(value, list):
        return _unless_same(value, [_clean_secret(name, item) for item in value])
    return value if isinstance(value, str) and _is_harmless(name, value) else REDACTED


def _is_harmless(name: str, value: str) -> bool:
    """Return True if a value has the form that its name implies and that is not a secret."""
    if "hash" in name:
        rule: Callable[[str], Any] = PasswordHash.parse if "pass" in name else TokenHash.parse
    elif name.endswith("tokenid"):
        rule = parse_id
    elif name.endswith("ciphertext"):
        rule = parse_ciphertext
    else:
        return False
    try:
        rule(value)
    except InvalidValueError:
        return False
    return True
