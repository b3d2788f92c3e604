"""Tokens that are out by mail: known by their hashes, used once, and only for a while."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from datetime import datetime

from domain.errors import RejectedError, RejectionCode
from domain.values import TokenHash


def same_hash(at_rest: str, presented: TokenHash) -> bool:
    """Compare a hash at rest with a presented one, in constant time."""
    return hmac.compare_digest(at_rest, presented.stored)


@dataclass(frozen=True, slots=True)
class OneTimeToken:
    """A token that is out by mail; `token_hash` is in the form at rest."""

    token_hash: str = field(repr=False)
    expires_at: datetime

    @classmethod
    def of(cls, token_hash: TokenHash, expires_at: datetime) -> OneTimeToken:
        """Keep a token, by its hash at rest, until a time."""
        return cls(token_hash.stored, expires_at)


def check_token(token: OneTimeToken | None, presented: TokenHash, now: datetime) -> None:
    """Make sure that the token that came back is the one that is out.

    Raises:
        RejectedError: TokenInvalid (another one, or none is out), or TokenExpired.
    """
    if token is None or not same_hash(token.token_hash, presented):
        raise RejectedError(RejectionCode.TOKEN_INVALID)
    if token.expires_at <= now:
        raise RejectedError(RejectionCode.TOKEN_EXPIRED)
