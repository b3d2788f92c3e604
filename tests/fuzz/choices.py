"""Bytes as choices, so that a generator of bytes (a fuzzer or Hypothesis) generates cases.

Every string of bytes is a case, and the same bytes are always the same case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

T = TypeVar("T")

TRICKY: Final = (
    "",
    " ",
    "\0",
    "\ud800",
    "\u202e",
    "a\u0308",
    "null",
    "NaN",
    "1e999",
    "-1",
    "9" * 5000,
    "\u0661\u0662",  # digits, but not ASCII
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59.999-23:59",
    "2026-13-01T00:00:00Z",
    "2026-11-22T10:00:00",
    "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77",
    "[" * 3000,
    '{"a":' * 40 + "1" + "}" * 40,
    "x" * 3000,
    "$argon2id$v=19$m=65536,t=3,p=4$",
    "a@b",
    "@",
)
"""Texts at the limits of a parser."""
_MAX_DEPTH = 3


class Choices:
    """Reads choices from bytes; when they are used up, every choice is the first one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def below(self, limit: int) -> int:
        """Choose a number from 0 to `limit` - 1; `limit` is at most 65,536."""
        return int.from_bytes(self._take(1 if limit <= 256 else 2), "big") % limit

    def one_of(self, options: Sequence[T]) -> T:
        """Choose an option."""
        return options[self.below(len(options))]

    def text(self, limit: int = 40) -> str:
        """Choose a tricky text, or decode some of the bytes (surrogates for non-UTF-8)."""
        if self.below(3) == 0:
            return self.one_of(TRICKY)
        return self._take(self.below(limit)).decode("utf-8", "surrogateescape")

    def json(self, depth: int = 0) -> Any:
        """Choose a JSON value."""
        kind = self.below(6 if depth >= _MAX_DEPTH else 8)
        match kind:
            case 0:
                return None
            case 1:
                return self.one_of((True, False, 0, 1, -1, 2**31, 2**63, 10**400, 1.5))
            case 6:
                return [self.json(depth + 1) for _ in range(self.below(5))]
            case 7:
                return {self.text(10): self.json(depth + 1) for _ in range(self.below(5))}
        return self.text()

    def rest(self) -> bytes:
        """Return all remaining bytes."""
        return self._take(len(self._data))

    def _take(self, size: int) -> bytes:
        chunk = self._data[self._at : self._at + size]
        self._at += size
        return chunk
