"""One-time tokens that were sent by mail; only their hashes are stored."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from domain.errors import RejectedError, RejectionCode
from domain.values import TokenHash


def same_hash(at_rest: str, presented: TokenHash) -> bool:
    """Return True if a stored hash is that of the presented one; takes constant time."""
    return hmac.compare_digest(at_rest, presented.stored)


@dataclass(frozen=True, slots=True)
class OneTimeToken:
    """A token that was sent by mail; `token_hash` is in its stored form."""

    token_hash: str = field(repr=False)
    expires_at: datetime

    @classmethod
    def issued(
        cls, token_hash: TokenHash, expires_at: datetime, now: datetime, longest: timedelta
    ) -> OneTimeToken:
        """Create a token that is valid until a time, but no longer than for `longest`.

        Raises:
            RejectedError: TokenExpired (the time has passed).
        """
        if expires_at <= now:
            raise RejectedError(RejectionCode.TOKEN_EXPIRED)
        return cls(token_hash.stored, min(expires_at, now + longest))


def check_token(token: OneTimeToken | None, presented: TokenHash, now: datetime) -> None:
    """Check a presented token against the expected one.

    Raises:
        RejectedError: TokenInvalid (no token is expected, or another one), or TokenExpired.
    """
    if token is None or not same_hash(token.token_hash, presented):
        raise RejectedError(RejectionCode.TOKEN_INVALID)
    if token.expires_at <= now:
        raise RejectedError(RejectionCode.TOKEN_EXPIRED)
