"""Keyed hashes: made with the first key, found with all keys."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from application.key_ring import SHORTEST_KEY, KeyRing

NEW, OLD = b"n" * SHORTEST_KEY, b"o" * SHORTEST_KEY


def test_a_hash_is_an_hmac_by_the_first_key() -> None:
    """Any other program with the key can compute it."""
    expected = hmac.new(NEW, b"ada@example.com", hashlib.sha256).hexdigest()
    assert KeyRing((NEW, OLD)).hash("ada@example.com") == expected


def test_hashes_are_found_by_every_key_and_by_no_other() -> None:
    """So a key can be replaced while hashes of the older one are stored."""
    stored = KeyRing((OLD,)).hash("ada@example.com")
    assert stored in KeyRing((NEW, OLD)).hashes("ada@example.com")
    assert stored not in KeyRing((NEW,)).hashes("ada@example.com")
    assert KeyRing((NEW, OLD)).hash("ada@example.com") == KeyRing((NEW,)).hash("ada@example.com")


@pytest.mark.parametrize("keys", [(), (b"",), (b"x" * (SHORTEST_KEY - 1),), (NEW, b"short")])
def test_a_missing_or_short_key_is_refused(keys: tuple[bytes, ...]) -> None:
    """A short key can be guessed."""
    with pytest.raises(ValueError, match="32 bytes"):
        KeyRing(keys)


def test_no_key_is_shown() -> None:
    """A ring may appear in a traceback or a log line."""
    assert "nnn" not in repr(KeyRing((NEW, OLD)))
