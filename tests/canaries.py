"""Values that must not be emitted, planted so that they are recognised wherever they appear."""

from __future__ import annotations

import base64
from typing import Final

SECRET: Final = "hunter2-canary-Zq8vX1wK"
"""Stands for a plaintext password or token."""
TOKEN_HASH: Final = "cafe0ddba11f00dc" * 4
"""A well-formed hash of a token, which a service accepts."""
PASSWORD_HASH: Final = (
    "$argon2id$v=19$m=65536,t=3,p=4$Y2FuYXJ5c2FsdFpxOA$Y2FuYXJ5Y2hlY2tzdW1jYW5hcnljaGVja3M"
)
TOKEN_MARK: Final = "5ec2e7c0ffee"
"""Part of every hash of a token that `tests.builders` creates."""
ADDRESS: Final = "canary.zq8vx1wk@example.com"


def _forms(value: str) -> tuple[str, ...]:
    """Return a text, and the parts of it that any base64 of a longer text around it contains."""
    inside = []
    for before in range(3):
        encoded = base64.b64encode(b" " * before + value.encode()).decode()
        inside.append(encoded[4 : len(encoded) // 4 * 4 - 4])
    return (value, *inside)


_SECRET_FORMS = _forms(SECRET)
_HASH_FORMS = (*_forms(TOKEN_HASH[:32]), *_forms(PASSWORD_HASH.rpartition("$")[2]))
_ADDRESS_FORMS = _forms(ADDRESS.partition("@")[0])


def secret_in(text: str) -> bool:
    """Return True if a text contains a plaintext secret, also in base64."""
    return any(form in text for form in _SECRET_FORMS)


def credential_in(text: str) -> bool:
    """Return True if a text contains a secret or the hash of one."""
    return secret_in(text) or any(form in text for form in _HASH_FORMS)


def personal_in(text: str) -> bool:
    """Return True if a text contains a secret, the hash of one, or the address."""
    return credential_in(text) or any(form in text.lower() for form in _ADDRESS_FORMS)
