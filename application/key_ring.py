"""Keyed hashes (HMAC-SHA-256) of personal data that must be recognised and not stored.

A reader of a plain hash of an e-mail address can guess the address and compare the hashes. For
keyed hashes this requires the key, which is a setting of the worker and is never stored.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Final

SHORTEST_KEY: Final = 32
"""Bytes: the length of the hash. A shorter key is easier to guess than the hash."""


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Secret keys: the first one makes new hashes, and all of them find stored ones."""

    keys: tuple[bytes, ...] = field(repr=False)

    def __post_init__(self) -> None:
        """Check the keys.

        Raises:
            ValueError: there is no key, or one is too short.
        """
        if not self.keys or any(len(key) < SHORTEST_KEY for key in self.keys):
            raise ValueError(f"needs one key at least, each of {SHORTEST_KEY} bytes or more")

    def hash(self, text: str) -> str:
        """Return the hash to store, in hexadecimal."""
        return _hash(self.keys[0], text)

    def hashes(self, text: str) -> tuple[str, ...]:
        """Return the hashes to look for: that of each key, the first key first."""
        return tuple(_hash(key, text) for key in self.keys)


def _hash(key: bytes, text: str) -> str:
    return hmac.digest(key, text.encode(), "sha256").hex()
