"""Ages as people write and read them: 90s, 10m, 2h, 3d."""

from __future__ import annotations

import re

from worker.errors import UsageError

_AGE = re.compile(r"([0-9]{1,7})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def seconds_of(option: str, text: str) -> float:
    """Read an age that was typed.

    Raises:
        UsageError: it is none.
    """
    match = _AGE.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(f"{option} is not an age", "write it like 90s, 10m, 2h or 3d")
    return float(int(match[1]) * _SECONDS[match[2]])


def age_text(seconds: float) -> str:
    """Write an age in its largest whole unit."""
    for unit, length in reversed(_SECONDS.items()):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return "0s"
