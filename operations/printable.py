"""Make any text safe to show on a terminal or a page."""

from __future__ import annotations

import json
from typing import Final

from application.wording import counted

__all__ = ["age_text", "counted", "printable", "readable"]

UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
"""Seconds of each unit of an age."""


def printable(value: object) -> str:
    """Return a text without control characters, which could control a terminal or a page."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def readable(body: str) -> str:
    """Return JSON indented, and other text with control characters replaced."""
    try:
        return json.dumps(json.loads(body), indent=2)
    except (ValueError, RecursionError):
        return printable(body)


def age_text(seconds: float) -> str:
    """Return an age in the largest unit that gives at least 1, rounded down: 5m, or in 5m."""
    if seconds < 0:
        return f"in {age_text(-seconds)}"
    for unit, length in reversed(UNITS.items()):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return "0s"
