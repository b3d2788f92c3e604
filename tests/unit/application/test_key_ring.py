"""Keyed hashes: made with the first key, found with all keys."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from application.key_ring import SHORTEST_KEY, KeyRing, key_id
from application.messages import MessageParser, render_command
from tests.builders import message, uid

NEW, OLD = b"n" * SHORTEST_KEY, b"o" * SHORTEST_KEY


def hmac_of(key: bytes, text: bytes) -> bytes:
    """Return HMAC-SHA-256, made in another way than by the module."""
    return hmac.new(key, text, hashlib.sha256).digest()


def test_hashes_are_hmacs_of_keys_derived_from_the_first_key() -> None:
    """Another program with the key can compute them. They are stored: they must never change."""
    ring = KeyRing((NEW, OLD))
    address_key = hmac_of(NEW, b"user-worker/banned-address")
    assert ring.address_hash("ada@example.com") == hmac_of(address_key, b"ada@example.com").hex()
    fingerprint_key = hmac_of(NEW, b"user-worker/fingerprint")
    name = hmac_of(NEW, b"user-worker/key-id").hex()[:8]
    made = hmac_of(fingerprint_key, b"content").hex()[:32]
    assert ring.fingerprint("content") == f"{name}:{made}"
    assert ring.fingerprint("content") == "daa27e6d:48e2f3b1ebd5fc35064ab75575801614"


def test_the_uses_of_a_key_have_nothing_in_common() -> None:
    """A hash of one use reveals nothing about those of another."""
    ring, plain = KeyRing((NEW,)), hmac_of(NEW, b"same").hex()
    fingerprint, address = ring.fingerprint("same").partition(":")[2], ring.address_hash("same")
    digits = len(fingerprint)
    assert len({fingerprint, address[:digits], plain[:digits]}) == 3


def test_address_hashes_are_found_by_every_key_and_by_no_other() -> None:
    """So a key can be replaced while hashes of the older one are stored."""
    stored = KeyRing((OLD,)).address_hash("ada@example.com")
    assert stored in KeyRing((NEW, OLD)).address_hashes("ada@example.com")
    assert stored not in KeyRing((NEW,)).address_hashes("ada@example.com")
    made = KeyRing((NEW, OLD)).address_hash("ada@example.com")
    assert made == KeyRing((NEW,)).address_hash("ada@example.com")


@pytest.mark.parametrize("ring", [(OLD,), (OLD, NEW), (NEW, OLD)], ids=["old", "added", "moved"])
@pytest.mark.parametrize("reader", [(OLD,), (OLD, NEW), (NEW, OLD)], ids=["old", "added", "moved"])
def test_two_workers_recognise_commands_at_every_step_of_a_rotation(
    ring: tuple[bytes, ...], reader: tuple[bytes, ...]
) -> None:
    """Another command is recognised too, except by a worker that does not know the key yet."""
    stored = KeyRing(ring).fingerprint("content")
    assert KeyRing(reader).may_be(stored, "content")
    assert KeyRing(reader).may_be(stored, "other") == (ring[0] not in reader)


@pytest.mark.parametrize(
    ("stored", "possible"),
    [
        (KeyRing((NEW,)).fingerprint("content"), True),
        (KeyRing((NEW,)).fingerprint("other"), False),
        (KeyRing((OLD,)).fingerprint("other"), True),  # a retired key, or one not known yet
        ("", True),  # the user was erased
        ("content", True),  # stored by an earlier version
        ("other", False),
        (f"{key_id(NEW)}:", False),
        (f"{key_id(NEW)}:é", False),
        ("zzzzzzzz:other", True),
        (":", True),
    ],
)
def test_only_a_fingerprint_that_can_be_compared_shows_another_command(
    stored: str, possible: bool
) -> None:
    """Without its key the id of the command decides, so no redelivery is dead-lettered."""
    assert KeyRing((NEW,)).may_be(stored, "content") is possible


def test_an_address_cannot_be_guessed_from_a_stored_fingerprint() -> None:
    """A dictionary finds the address in what earlier versions stored, but not without the key."""
    parser = MessageParser(("customer",))

    def content_of(address: str) -> str:
        body = render_command(
            "CreateUser",
            {"email": address, "first_name": "Ada", "roles": ["customer"]},
            command_id=uid("command"),
            source="/test",
            user_id=uid("ada"),
        )
        return parser.parse(message(body)).content_hash

    secret = KeyRing((NEW,))
    plain, stored = content_of("ada@example.com"), secret.fingerprint(content_of("ada@example.com"))
    guesses = {content_of(f"{name}@example.com") for name in ("bob", "ada", "eve")}
    assert plain in guesses
    attackers = KeyRing((OLD,))
    public = {key_id(NEW).encode().ljust(SHORTEST_KEY, b"0"), stored.encode(), b"0" * SHORTEST_KEY}
    for ring in (attackers, *(KeyRing((key,)) for key in public)):
        hashes = {ring.fingerprint(guess).partition(":")[2] for guess in guesses}
        assert stored.partition(":")[2] not in hashes
    assert stored.partition(":")[2] not in guesses
    assert stored in {secret.fingerprint(guess) for guess in guesses}


@pytest.mark.parametrize("keys", [(), (b"",), (b"x" * (SHORTEST_KEY - 1),), (NEW, b"short")])
def test_a_missing_or_short_key_is_refused(keys: tuple[bytes, ...]) -> None:
    """A short key can be guessed."""
    with pytest.raises(ValueError, match="32 bytes"):
        KeyRing(keys)


def test_no_key_is_shown() -> None:
    """A ring may appear in a traceback or a log line."""
    assert "nnn" not in repr(KeyRing((NEW, OLD)))
