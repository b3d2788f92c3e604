"""Tokens of mails and sessions: random or derived values, and the hashes that commands carry."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID, uuid4

SHORTEST_KEY: Final = 32
"""Bytes of a key that mailed tokens are derived from."""
_ID = "([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_TEXT: Final = re.compile(rf"{_ID}\.{_ID}\.([A-Za-z0-9_-]{{43}})\.([A-Za-z0-9_-]{{43}})", re.ASCII)


def token_hash(token: str) -> str:
    """Return the SHA-256 of a token in hexadecimal, as commands carry it."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class MailedTokens:
    """Tokens that a mail contains, derived from a key that the edge and the mailer share.

    The queue, the events and the table contain only the id and the hash of a token. In production
    the key may stay in KMS: call GenerateMac with `message`, and use its answer in hexadecimal.
    """

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Check the key.

        Raises:
            ValueError: it is shorter than 32 bytes.
        """
        if len(self.key) < SHORTEST_KEY:
            raise ValueError(f"the key must have {SHORTEST_KEY} bytes or more")

    @staticmethod
    def message(purpose: str, token_id: UUID | str) -> bytes:
        """Return what the token is the HMAC of: a token is valid for one purpose only.

        Raises:
            ValueError: the purpose is not one word, or the id is not a UUID.
        """
        if not purpose.isidentifier():
            raise ValueError("the purpose must be one word, such as reset")
        return f"{purpose}\n{UUID(str(token_id))}".encode()

    def token(self, purpose: str, token_id: UUID | str) -> str:
        """Return the token of an id, for a purpose such as `reset`."""
        return hmac.digest(self.key, self.message(purpose, token_id), "sha256").hex()


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token, as the client of a login service keeps it.

    It names the user and the session, and has two secret parts: one that stays for the whole
    session, and one that each exchange replaces.
    """

    user_id: str
    session_id: str
    family: str = field(repr=False)
    part: str = field(repr=False)

    @classmethod
    def new(cls, user_id: UUID | str) -> RefreshToken:
        """Return the token of a new session."""
        parts = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        return cls(str(UUID(str(user_id))), str(uuid4()), *parts)

    @classmethod
    def parse(cls, text: str) -> RefreshToken:
        """Return the token that a client presents.

        Raises:
            ValueError: the text is not a refresh token.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError("not a refresh token")
        return cls(*match.groups())

    def next(self) -> RefreshToken:
        """Return the token that replaces this one."""
        return replace(self, part=secrets.token_urlsafe(32))

    @property
    def refresh_family_hash(self) -> str:
        """The hash of the part that stays, as commands carry it."""
        return token_hash(self.family)

    @property
    def refresh_token_hash(self) -> str:
        """The hash of the part that is replaced, as commands carry it."""
        return token_hash(self.part)

    def fields(self) -> dict[str, Any]:
        """Return the fields of StartSession and RotateRefreshToken that name session and token."""
        return {
            "session_id": UUID(self.session_id),
            "refresh_family_hash": self.refresh_family_hash,
            "refresh_token_hash": self.refresh_token_hash,
        }

    def __str__(self) -> str:
        """Return the text for the client."""
        return f"{self.user_id}.{self.session_id}.{self.family}.{self.part}"
