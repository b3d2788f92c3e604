"""Parse ids, users and ages (90s, 10m, 2h, 3d) typed by an operator, and format ages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from worker.errors import UsageError

if TYPE_CHECKING:
    from domain.values import EmailAddress

_AGE = re.compile(r"([0-9]{1,7})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parse_id_option(text: str, name: str) -> str:
    """Return the id in `text`.

    Raises:
        UsageError: the text is not an id; the message names it as `name`.
    """
    from domain.errors import InvalidValueError
    from domain.values import parse_id

    try:
        return parse_id(text)
    except InvalidValueError as error:
        raise UsageError(
            f"{name} {error}", "write it like 5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77"
        ) from None


def parse_user(text: str) -> str | EmailAddress:
    """Return the user's id or e-mail address.

    Raises:
        UsageError: the text is neither.
    """
    from application.addresses import parse_address
    from domain.errors import InvalidValueError
    from domain.values import parse_id

    try:
        return parse_address(text) if "@" in text else parse_id(text)
    except InvalidValueError as error:
        raise UsageError(f"invalid user: {error}", "use a user id or an e-mail address") from None


def seconds_of(option: str, text: str) -> float:
    """Return the seconds of an age typed by a user.

    Raises:
        UsageError: the text is not an age.
    """
    match = _AGE.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(f"{option} is not an age", "write it like 90s, 10m, 2h or 3d")
    return float(int(match[1]) * _SECONDS[match[2]])


def age_text(seconds: float) -> str:
    """Return an age in the largest unit that gives at least 1, rounded down."""
    for unit, length in reversed(_SECONDS.items()):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return "0s"
