"""Read the attributes of a stored item; an error names the attribute that is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from adapters.errors import MalformedItemError

_NATURAL: Final = re.compile("[0-9]+")
_WHOLE: Final = re.compile("-?[0-9]+")


def render_timestamp(time: datetime) -> str:
    """Render a time as RFC 3339 in UTC, in milliseconds, or microseconds if needed."""
    precision = "microseconds" if time.microsecond % 1000 else "milliseconds"
    return time.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def parse_timestamp(text: str) -> datetime | None:
    """Parse a time with offset into UTC; return `None` if it is invalid or before the year 1."""
    try:
        time = datetime.fromisoformat(text)
        return None if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


class Attributes:
    """The attributes of an item of one kind; an absent attribute is `None` or the default."""

    __slots__ = ("_kind", "_path", "_values")

    def __init__(self, kind: str, values: Mapping[str, Any], path: str = "") -> None:
        """Read `values`, in DynamoDB JSON; `path` is their place inside the item."""
        self._kind = kind
        self._values = values
        self._path = path

    def names(self) -> tuple[str, ...]:
        """Return the names of the attributes."""
        return tuple(self._values)

    def text(self, name: str) -> str:
        """Return a string that must be present."""
        value = self.optional_text(name)
        if value is None:
            raise self.malformed(name, "is missing")
        return value

    def optional_text(self, name: str) -> str | None:
        """Return a string, or `None` if it is absent."""
        value = self._values.get(name)
        if value is None:
            return None
        text = value.get("S")
        if not isinstance(text, str):
            raise self.malformed(name, "must be a string (S)")
        return text

    def integer(self, name: str, default: int | None = None) -> int:
        """Return a whole number that is not negative."""
        if default is not None and name not in self._values:
            return default
        return self._number(name, _NATURAL, "must be a whole number (N), not below 0")

    def flag(self, name: str) -> bool:
        """Return a boolean; absent means false."""
        value = self._values.get(name)
        if value is None:
            return False
        flag = value.get("BOOL")
        if not isinstance(flag, bool):
            raise self.malformed(name, "must be a boolean (BOOL)")
        return flag

    def time(self, name: str) -> datetime:
        """Return a time that must be present."""
        time = self.optional_time(name)
        if time is None:
            raise self.malformed(name, "is missing")
        return time

    def optional_time(self, name: str) -> datetime | None:
        """Return a time with offset as UTC, or `None` if it is absent."""
        text = self.optional_text(name)
        if text is None:
            return None
        time = parse_timestamp(text)
        if time is None:
            raise self.malformed(name, "must be an RFC 3339 time with offset")
        return time

    def epoch(self, name: str) -> datetime:
        """Return a time stored as epoch seconds, which are negative before 1970."""
        seconds = self._number(name, _WHOLE, "must be a whole number (N)")
        try:
            return datetime.fromtimestamp(seconds, UTC)
        except (ValueError, OverflowError, OSError):
            raise self.malformed(name, "must be a time in epoch seconds") from None

    def _number(self, name: str, form: re.Pattern[str], rule: str) -> int:
        value = self._values.get(name)
        if value is None:
            raise self.malformed(name, "is missing")
        number = value.get("N")
        if not isinstance(number, str) or not form.fullmatch(number):
            raise self.malformed(name, rule)
        return int(number)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings; absent means empty."""
        value = self._values.get(name)
        if value is None:
            return ()
        items = value.get("L")
        if not isinstance(items, list) or not all(isinstance(item.get("S"), str) for item in items):
            raise self.malformed(name, "must be a list (L) of strings (S)")
        return tuple(item["S"] for item in items)

    def words(self, name: str) -> tuple[str, ...]:
        """Return the words of a string, separated by spaces; absent means none."""
        return tuple((self.optional_text(name) or "").split())

    def nested(self, name: str) -> Attributes | None:
        """Return a map, or `None` if it is absent."""
        value = self._values.get(name)
        if value is None:
            return None
        inner = value.get("M")
        if not isinstance(inner, dict):
            raise self.malformed(name, "must be a map (M)")
        return Attributes(self._kind, inner, f"{self._path}{name}.")

    def malformed(self, name: str, rule: str) -> MalformedItemError:
        """Return an error that names the attribute and the rule."""
        return MalformedItemError(self._kind, self._path + name, rule)
