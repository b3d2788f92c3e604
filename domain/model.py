"""The User aggregate: its state, its sessions and its second factor, changed by its methods only."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from domain.values import EmailAddress

MAX_USED_REFRESH_TOKENS = 20
"""Used token hashes kept a session, so that its item stays under 1 KB."""


@dataclass(frozen=True, slots=True)
class OneTimeToken:
    """A token that is out by mail; `token_hash` is in the form at rest."""

    token_hash: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class EmailChange:
    """An address that waits for its confirmation."""

    new_email: EmailAddress
    token: OneTimeToken


@dataclass(frozen=True, slots=True)
class Ban:
    """Why a user is shut out, and until when (`None`: for good)."""

    reason: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Session:
    """A login and its family of refresh tokens; hashes are in the form at rest."""

    session_id: str
    refresh_token_hash: str
    used_token_hashes: tuple[str, ...]
    """The latest used ones, oldest first, as the first 16 hexadecimal digits of the hash at rest."""
    session_epoch: int
    """The user's epoch at the start: the session is over when the user's has moved on."""
    expires_at: datetime
    revision: int = 0
    """How often the stored item was written; 0: not stored yet."""


@dataclass(frozen=True, slots=True)
class TwoFactor:
    """The second factor: an encrypted secret and what is left of the recovery codes."""

    secret_ciphertext: str
    recovery_code_hashes: tuple[str, ...]
    revision: int = 0
    """As a session's."""


@dataclass(slots=True)
class User:
    """The aggregate. `version` counts its events, from 1."""

    user_id: str
    version: int
    created_at: datetime
    updated_at: datetime
    email: EmailAddress | None
    """`None` once erased."""
    first_name: str
    last_name: str
    email_verified: bool = False
    password_hash: str | None = None
    credential_version: int = 0
    """Grows with each new password."""
    roles: tuple[str, ...] = ()
    session_epoch: int = 0
    failed_logins: int = 0
    lock_count: int = 0
    """Locks in a row: each lasts twice as long as the one before."""
    locked_until: datetime | None = None
    ban: Ban | None = None
    deactivated: bool = False
    deactivation_reason: str | None = None
    erased: bool = False
    two_factor_enabled: bool = False
    email_verification: OneTimeToken | None = None
    email_change: EmailChange | None = None
    password_reset: OneTimeToken | None = None
    sessions: dict[str, Session] = field(default_factory=dict)
    """Those that the commands in hand name, by id."""
    two_factor: TwoFactor | None = None
    """Only where a command in hand needs it."""
