"""A session: one login and the family of refresh tokens that keeps it alive."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field, replace
from datetime import datetime

from domain.errors import RejectedError, RejectionCode
from domain.policy import MAX_USED_REFRESH_TOKENS
from domain.tokens import same_hash
from domain.values import TokenHash

_USED_DIGITS = 16
"""64 bits distinguish the tokens of one session, at a quarter of the size."""


@dataclass(frozen=True, slots=True)
class Session:
    """A login and its family of refresh tokens; hashes are in the form at rest."""

    session_id: str
    refresh_token_hash: str = field(repr=False)
    used_token_hashes: tuple[str, ...] = field(repr=False)
    """The latest used ones, oldest first: the first 16 hexadecimal digits of the hash at rest."""
    session_epoch: int
    """The user's epoch at the start: the session has ended once the user has another epoch."""
    expires_at: datetime
    revision: int = 0
    """How often the stored item was written; 0: not stored yet."""
    started_at: datetime | None = None
    """`None` for a session of an earlier format."""
    last_used_at: datetime | None = None
    """Time of the start or of the last exchange of the refresh token."""
    methods: tuple[str, ...] = ()
    device: str | None = field(default=None, repr=False)

    def is_over(self, session_epoch: int, now: datetime) -> bool:
        """Return True if the session expired, or the user's epoch has changed since its start."""
        return self.expires_at <= now or self.session_epoch != session_epoch

    def has_used(self, token: TokenHash) -> bool:
        """Return True if a token of this session was exchanged before."""
        prefix = token.stored[:_USED_DIGITS]
        matches = [hmac.compare_digest(used, prefix) for used in self.used_token_hashes]
        return any(matches)

    def rotated(
        self, current: TokenHash, following: TokenHash, expires_at: datetime, now: datetime
    ) -> Session:
        """Return the session with the current token exchanged for the following one.

        Raises:
            RejectedError: SessionNotFound (the first token is not the current one), or
                TokenInvalid (the following one is the current one or was used before: it would
                be valid and used at the same time).
        """
        if not same_hash(self.refresh_token_hash, current):
            raise RejectedError(RejectionCode.SESSION_NOT_FOUND)
        if same_hash(self.refresh_token_hash, following) or self.has_used(following):
            raise RejectedError(RejectionCode.TOKEN_INVALID)
        used = (*self.used_token_hashes, self.refresh_token_hash[:_USED_DIGITS])
        return replace(
            self,
            refresh_token_hash=following.stored,
            used_token_hashes=used[-MAX_USED_REFRESH_TOKENS:],
            expires_at=expires_at,
            last_used_at=now,
        )
