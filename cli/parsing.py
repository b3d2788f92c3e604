"""Parse ids and ages (90s, 10m, 2h, 3d) typed by an operator."""

from __future__ import annotations

import re

from operations.printable import UNITS
from worker.errors import UsageError

_AGE = re.compile(r"([0-9]{1,7})([smhd])")


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


def seconds_of(option: str, text: str) -> float:
    """Return the seconds of an age typed by a user.

    Raises:
        UsageError: the text is not an age.
    """
    match = _AGE.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(f"{option} is not an age", "write it like 90s, 10m, 2h or 3d")
    return float(int(match[1]) * UNITS[match[2]])
