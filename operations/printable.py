"""Make any text safe to show on a terminal or a page."""

from __future__ import annotations

import json


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


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: `1 letter`, `2 letters`; name a plural that is irregular."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
