"""Addresses that the worker accepts, with their keys, and others that it refuses."""

from __future__ import annotations

import unicodedata

from application.addresses import parse_address
from domain.errors import InvalidValueError

# An older Node has an older UTS 46, which refuses these capitals of Georgian, Cyrillic and Latin.
REFUSED_BY_NODE_20 = {*map(chr, range(0x10A0, 0x10C6)), "\u04c0", "\u2132", "\u2183"}


def accepted_addresses() -> dict[str, str]:
    """Return addresses with one letter of many scripts in each part, and their keys."""
    keys = {" Ada@EXAMPLE.com": "ada@example.com"}
    for code in (*range(0x80, 0x3100), *range(0xA640, 0xAC00), *range(0xFF00, 0xFFF0)):
        letter = chr(code)
        if unicodedata.category(letter)[0] not in "LMN" or letter in REFUSED_BY_NODE_20:
            continue
        for text in (f"a{letter}@example.com", f"ada@a{letter}a.example"):
            try:
                keys[text] = parse_address(text).key
            except InvalidValueError:
                continue
    return keys


MALFORMED = (
    "",
    "ada",
    "@example.com",
    "ada@",
    "ada@example",
    "ada@@example.com",
    "a b@example.com",
    ".ada@example.com",
    "ada.@example.com",
    "a..b@example.com",
    '"ada"@example.com',
    "ada,@example.com",
    "ada\0@example.com",
    "ada\u200b@example.com",
    "ada@example..com",
    "ada@-a.example",
    "ada@a-.example",
    "ada@a_b.example",
    "ada@127.0.0.1",
    "ada@1.2",
    "ada@[::1]",
    "ada@example.123",
    f"{'a' * 65}@example.com",
    f"ada@{'a' * 64}.example",
    f"ada@{'a.' * 130}example",
)
