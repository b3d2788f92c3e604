"""Encrypts the secrets of second factors.

The secret is stored as a ciphertext that only the login service can decrypt. The worker has no
key; it accepts each step of the one-time password and each recovery code once.
"""

from __future__ import annotations

import base64
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE = 12
"""Bytes; a random one for each ciphertext."""


class DecryptionError(Exception):
    """A ciphertext was changed, or belongs to another key or user."""


class SecretCipher:
    """Encrypts secrets with AES-256-GCM; in production with a data key of KMS."""

    def __init__(self, key: bytes) -> None:
        if len(key) != 32:  # noqa: PLR2004 - AES-256
            raise ValueError("the key must have 32 bytes")
        self._cipher = AESGCM(key)

    def encrypt(self, secret: bytes, user_id: str) -> str:
        """Return the ciphertext; it is valid only for this user id, which is authenticated."""
        nonce = secrets.token_bytes(NONCE)
        return base64.b64encode(
            nonce + self._cipher.encrypt(nonce, secret, user_id.encode())
        ).decode()

    def decrypt(self, ciphertext: str, user_id: str) -> bytes:
        """Return the secret.

        Raises:
            DecryptionError: not a ciphertext of this key and this user.
        """
        try:
            data = base64.b64decode(ciphertext, validate=True)
            return self._cipher.decrypt(data[:NONCE], data[NONCE:], user_id.encode())
        except (InvalidTag, ValueError):
            raise DecryptionError("not a ciphertext of this key and user") from None
