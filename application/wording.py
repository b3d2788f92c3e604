"""Texts whose grammar depends on a value."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: `1 letter`, `2 letters`; name a plural that is irregular.

    A noun may be followed by its verb: `counted(number, "was left", "were left")`.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
