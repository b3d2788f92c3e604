"""Parse the values of files as other systems export them: booleans, times and whole names."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from domain.errors import InvalidValueError
from domain.values import parse_time, render_time

_TRUE = frozenset({"true", "yes", "1"})
_FALSE = frozenset({"false", "no", "0"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS = re.compile(r"([0-9]{9,10})(?:\.([0-9]+))?")
"""Unix times from 1973 to 2286. Fewer digits may be a year or a date, so they are not accepted."""
_MILLISECONDS = re.compile(r"([0-9]{12,13})(?:\.0+)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SHORT_OFFSET = re.compile(r"(:[0-9]{2}(?:\.[0-9]+)?[+-][0-9]{2})([0-9]{2})?$")


def parse_flag(text: str) -> bool:
    """Return the boolean for true, yes, 1, false, no or 0, in any case.

    Raises:
        InvalidValueError: none of these.
    """
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise InvalidValueError("must be true or false (also accepted: yes, no, 1, 0)")


def parse_moment(text: str) -> str:
    """Return a time in RFC 3339.

    Accepts RFC 3339, also with an offset of hours alone or without a colon; a date, which means
    midnight UTC; and Unix time in seconds (9 or 10 digits) or milliseconds (12 or 13 digits).

    Raises:
        InvalidValueError: none of these.
    """
    try:
        return render_time(parse_time(_rfc_3339(text.strip())))
    except InvalidValueError:
        raise InvalidValueError(
            "must be an RFC 3339 time with offset, a date such as 2019-03-01, or Unix time in "
            "seconds or milliseconds"
        ) from None


def _rfc_3339(text: str) -> str:
    if match := _SECONDS.fullmatch(text):
        fraction = (match[2] or "").ljust(3, "0")[:3]
        return render_time(_EPOCH + timedelta(milliseconds=int(match[1] + fraction)))
    if match := _MILLISECONDS.fullmatch(text):
        return render_time(_EPOCH + timedelta(milliseconds=int(match[1])))
    if _DATE.fullmatch(text):
        return f"{text}T00:00:00Z"
    if match := _SHORT_OFFSET.search(text):
        return f"{text[: match.start()]}{match[1]}:{match[2] or '00'}"
    return text


def split_name(value: object) -> tuple[str, str | None]:
    """Return the given and the family name: the last word is the family name.

    One word is a given name.

    Raises:
        InvalidValueError: not a text with a word, or a text with a comma, which may have the
            family name first.
    """
    words = value.split() if isinstance(value, str) else []
    if not words:
        raise InvalidValueError("must be a string with a name")
    if any("," in word for word in words):
        raise InvalidValueError("must be a name without a comma, the given name first")
    if len(words) == 1:
        return words[0], None
    return " ".join(words[:-1]), words[-1]
