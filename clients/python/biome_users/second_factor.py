"""One-time passwords (RFC 6238) and recovery codes, for a login service."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import Final
from urllib.parse import quote, urlencode

PERIOD: Final = 30
"""Seconds of a step."""
RECOVERY_CODES: Final = 10


def new_totp_secret() -> bytes:
    """Return the secret of an authenticator app: 160 bits, as RFC 4226 recommends.

    Encrypt it before you send EnableTwoFactor: the worker stores the ciphertext and has no key.
    """
    return secrets.token_bytes(20)


def setup_uri(secret: bytes, account: str, issuer: str) -> str:
    """Return the URI that an authenticator app reads from a QR code."""
    query = urlencode({"secret": base64.b32encode(secret).decode(), "issuer": issuer})
    return f"otpauth://totp/{quote(f'{issuer}:{account}')}?{query}"


def totp_code(secret: bytes, step: int) -> str:
    """Return the one-time password of a step: six digits."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    start = digest[-1] & 15
    number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFF_FFFF
    return f"{number % 1_000_000:06d}"


def find_totp_step(secret: bytes, code: str, now: float, after: int = -1) -> int | None:
    """Return the step of a one-time password, or `None` if it is wrong.

    Args:
        secret: the user's secret.
        code: what the person typed; spaces are ignored.
        now: the time, in seconds since the epoch. The current step and its neighbours are
            accepted, because clocks differ and people type slowly.
        after: the last step that was used: it and earlier ones are not accepted.
    """
    typed = "".join(code.split())
    if not re.fullmatch("[0-9]{6}", typed, re.ASCII):
        return None
    current = int(now) // PERIOD
    steps = [step for step in (current - 1, current, current + 1) if step > max(after, -1)]
    matching = [step for step in steps if hmac.compare_digest(totp_code(secret, step), typed)]
    return max(matching, default=None)


def new_recovery_codes() -> list[str]:
    """Return recovery codes of 80 random bits: too many to be guessed from a stored hash."""
    texts = (base64.b32encode(secrets.token_bytes(10)).decode() for _ in range(RECOVERY_CODES))
    return [
        "-".join(text.lower()[start : start + 4] for start in range(0, 16, 4)) for text in texts
    ]


def recovery_code_hash(code: str) -> str | None:
    """Return the hash of a recovery code as typed, in any case and grouping.

    Returns:
        SHA-256 in hexadecimal; `None` if the text is not a recovery code.
    """
    typed = "".join(code.replace("-", "").split()).lower()
    if not re.fullmatch("[a-z2-7]{16}", typed, re.ASCII):
        return None
    return hashlib.sha256(typed.encode()).hexdigest()
