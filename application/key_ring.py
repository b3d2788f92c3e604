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

# Each use has keys of its own, derived from the secret keys: a hash of one use reveals nothing
# about those of another, and none is equal to another by accident. Changing a label has the effect
# of a new secret.
_ADDRESS: Final = b"user-worker/banned-address"
_FINGERPRINT: Final = b"user-worker/fingerprint"
_KEY_ID: Final = b"user-worker/key-id"
_KEY_ID_DIGITS: Final = 8
_FINGERPRINT_BYTES: Final = 16
"""Length of a fingerprint's hash: RFC 2104 allows half of the hash, and each outcome stores one."""


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Secret keys: the first one makes new hashes, and all of them recognise stored ones."""

    keys: tuple[bytes, ...] = field(repr=False)
    _addresses: tuple[bytes, ...] = field(init=False, repr=False, compare=False)
    """Derived keys for addresses, in the order of `keys`."""
    _fingerprints: dict[str, bytes] = field(init=False, repr=False, compare=False)
    """Derived keys for fingerprints by key id, in the order of `keys`."""
    _first: tuple[str, bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the keys, and derive those of each use.

        Raises:
            ValueError: there is no key, or one is too short.
        """
        if not self.keys or any(len(key) < SHORTEST_KEY for key in self.keys):
            raise ValueError(f"needs one key at least, each of {SHORTEST_KEY} bytes or more")
        fingerprints = {key_id(key): _hmac(key, _FINGERPRINT) for key in self.keys}
        object.__setattr__(self, "_addresses", tuple(_hmac(key, _ADDRESS) for key in self.keys))
        object.__setattr__(self, "_fingerprints", fingerprints)
        object.__setattr__(self, "_first", next(iter(fingerprints.items())))

    def address_hash(self, address: str) -> str:
        """Return the hash to store for an address (`EmailAddress.key`), in hexadecimal."""
        return _hmac(self._addresses[0], address.encode()).hex()

    def address_hashes(self, address: str) -> tuple[str, ...]:
        """Return the hashes to look for: that of each key, the first key first."""
        return tuple(_hmac(key, address.encode()).hex() for key in self._addresses)

    def fingerprint(self, content: str) -> str:
        """Return the fingerprint to store for a command: `<key id>:<hash in hexadecimal>`.

        Args:
            content: `CommandEnvelope.content_hash`, which must not be stored.
        """
        name, key = self._first
        return f"{name}:{_fingerprint(key, content)}"

    def may_be(self, stored: str, content: str) -> bool:
        """Return False if a stored fingerprint is that of another command than `content`.

        If it cannot be compared, the result is True, so that the id of the command decides: it is
        empty once its user is erased, and it may be of a key that is not in the ring any more, or
        not yet. Earlier versions stored the content hash itself.
        """
        name, separator, stored_hash = stored.partition(":")
        if not separator:
            return stored in ("", content)
        key = self._fingerprints.get(name)
        return key is None or stored_hash == _fingerprint(key, content)


def key_id(key: bytes) -> str:
    """Return the public name of a key, which is derived from the key and does not reveal it."""
    return _hmac(key, _KEY_ID).hex()[:_KEY_ID_DIGITS]


def _fingerprint(key: bytes, content: str) -> str:
    return _hmac(key, content.encode())[:_FINGERPRINT_BYTES].hex()


def _hmac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")
