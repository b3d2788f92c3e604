"""The second factor of a login service: one-time passwords (RFC 6238) and recovery codes.

The secret is stored as a ciphertext that only the login service can decrypt. The worker has no
key; it accepts each step of the one-time password and each recovery code once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from urllib.parse import quote, urlencode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.values import TokenHash

PERIOD = 30
"""Seconds of a step."""
ISSUER = "Biome"
RECOVERY_CODES = 10
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


# --- one-time passwords ----------------------------------------------------------------------


def new_secret() -> bytes:
    """Create the secret of an authenticator app: 160 bits, as RFC 4226 recommends."""
    return secrets.token_bytes(20)


def setup_uri(secret: bytes, account: str) -> str:
    """Return the URI that an authenticator app reads from a QR code."""
    query = urlencode({"secret": base32(secret), "issuer": ISSUER})
    return f"otpauth://totp/{quote(f'{ISSUER}:{account}')}?{query}"


def base32(secret: bytes) -> str:
    """Return a secret as authenticator apps accept it."""
    return base64.b32encode(secret).decode()


def code_of(secret: bytes, step: int) -> str:
    """Return the one-time password of a step: six digits."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    start = digest[-1] & 15
    number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFF_FFFF
    return f"{number % 1_000_000:06d}"


def parse_code(text: str) -> str:
    """Return the six digits that a person typed, without spaces; raise ValueError otherwise."""
    code = "".join(text.split())
    if not re.fullmatch("[0-9]{6}", code):
        raise ValueError("a one-time password has six digits")
    return code


def find_step(secret: bytes, code: str, now: float, after: int = -1) -> int | None:
    """Return the step of a one-time password, or None if it is wrong.

    Accepts the present step and its neighbours, because clocks differ and people type slowly, but
    no step up to `after`, the last one that was used.
    """
    present = int(now) // PERIOD
    steps = [step for step in (present - 1, present, present + 1) if step > after]
    matching = [step for step in steps if hmac.compare_digest(code_of(secret, step), code)]
    return max(matching, default=None)


# --- recovery codes --------------------------------------------------------------------------


def new_recovery_codes() -> list[str]:
    """Create recovery codes of 80 random bits: too many to be guessed from a stored hash."""
    texts = (base32(secrets.token_bytes(10)).lower() for _ in range(RECOVERY_CODES))
    return ["-".join(text[start : start + 4] for start in range(0, 16, 4)) for text in texts]


def recovery_code_hash(code: str) -> TokenHash:
    """Return the hash of a recovery code as a person typed it, in any case and grouping.

    Raises:
        ValueError: not a recovery code.
    """
    typed = "".join(code.replace("-", "").split()).lower()
    if not re.fullmatch("[a-z2-7]{16}", typed):
        raise ValueError("a recovery code has 16 letters and digits")
    return TokenHash(hashlib.sha256(typed.encode()).hexdigest())
