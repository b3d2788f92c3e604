"""Parse and format ages: 90s, 10m, 2h, 3d."""

from __future__ import annotations

import re

from worker.errors import UsageError

_AGE = re.compile(r"([0-9]{1,7})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


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
