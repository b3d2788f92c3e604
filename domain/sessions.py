"""A session: one login, and the family of refresh tokens that keeps it alive.

A refresh token consists of a secret that all tokens of the session share, and of a part that each
exchange replaces. Any other part with the right secret counts as used twice, so a
session detects the theft of a token without storing all parts that were replaced.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from domain.errors import RejectedError, RejectionCode
from domain.policy import MAX_LIVE_REFRESH_TOKENS
from domain.tokens import same_hash
from domain.values import TokenHash

_PART_DIGITS: Final = 32
"""128 bits of a part's hash are stored, so that a session's item stays under 1 KB."""


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """The hashes of a refresh token, as they are presented."""

    family: TokenHash
    part: TokenHash


def _stored_part(part: TokenHash) -> str:
    return part.stored[:_PART_DIGITS]


def _same_part(stored: str, part: TokenHash) -> bool:
    return hmac.compare_digest(stored, _stored_part(part))


@dataclass(frozen=True, slots=True)
class Session:
    """A login and its family of refresh tokens; hashes are in the form at rest."""

    session_id: str
    refresh_family_hash: str = field(repr=False)
    refresh_token_hashes: tuple[str, ...] = field(repr=False)
    """The first 32 hexadecimal digits of the hash of each live part, oldest first."""
    expires_at: datetime
    replaced_token_hash: str | None = field(default=None, repr=False)
    """The part that was replaced last, stored as the live ones."""
    replaced_at: datetime | None = None
    """When that part was replaced for the first time."""
    started_at: datetime | None = None
    """`None` for a session of an earlier format."""
    last_used_at: datetime | None = None
    """Time of the start or of the last exchange of the refresh token."""
    methods: tuple[str, ...] = ()
    device: str | None = field(default=None, repr=False)
    revision: int = 0
    """How often the stored item was written; 0: not stored yet."""

    @classmethod
    def new(
        cls,
        session_id: str,
        token: RefreshToken,
        expires_at: datetime,
        methods: tuple[str, ...] = (),
        device: str | None = None,
    ) -> Session:
        """Create a session with its first refresh token."""
        return cls(
            session_id,
            token.family.stored,
            (_stored_part(token.part),),
            expires_at,
            methods=methods,
            device=device,
        )

    def is_of_family(self, token: RefreshToken) -> bool:
        """Return True if a token contains the secret that all tokens of this session share."""
        return same_hash(self.refresh_family_hash, token.family)

    def accepts(self, part: TokenHash, now: datetime, leeway: timedelta) -> bool:
        """Return True if a part is live, or was replaced last and less than `leeway` ago.

        A client whose answer was lost, and a second tab of a browser, present the replaced part.
        """
        return self._is_live(part) or (self._is_replaced(part) and self._in_leeway(now, leeway))

    def rotated(
        self, part: TokenHash, following: TokenHash, expires_at: datetime, now: datetime
    ) -> Session | None:
        """Return the session with an accepted part exchanged for the following one.

        Returns `None` if the same exchange was made before, so that nothing changes.

        Raises:
            RejectedError: TokenInvalid (the following part is live, or was the last one replaced).
        """
        again = not self._is_live(part)
        if self._is_live(following) and again:
            return None
        if self._is_live(following) or self._is_replaced(following):
            raise RejectedError(RejectionCode.TOKEN_INVALID)
        live = [stored for stored in self.refresh_token_hashes if not _same_part(stored, part)]
        live.append(_stored_part(following))
        return replace(
            self,
            refresh_token_hashes=tuple(live[-MAX_LIVE_REFRESH_TOKENS:]),
            # An exchange within the leeway does not prolong it.
            replaced_token_hash=self.replaced_token_hash if again else _stored_part(part),
            replaced_at=self.replaced_at if again else now,
            expires_at=expires_at,
            last_used_at=now,
        )

    def _is_live(self, part: TokenHash) -> bool:
        matches = [_same_part(stored, part) for stored in self.refresh_token_hashes]
        return any(matches)

    def _is_replaced(self, part: TokenHash) -> bool:
        return self.replaced_token_hash is not None and _same_part(self.replaced_token_hash, part)

    def _in_leeway(self, now: datetime, leeway: timedelta) -> bool:
        # The part was replaced in the future if a clock was set back, or another worker's is ahead.
        return self.replaced_at is not None and abs(now - self.replaced_at) < leeway
