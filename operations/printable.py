"""Make any text safe to show on a terminal or a page."""

from __future__ import annotations

import json

from application.wording import counted

__all__ = ["counted", "printable", "readable"]


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
