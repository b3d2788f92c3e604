"""What the User aggregate is made of; `model.User` holds the rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from domain.events import Event, RecordedEvent
from domain.sessions import Session
from domain.tokens import OneTimeToken
from domain.values import EmailAddress

Events = tuple[Event, ...]


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
class TwoFactor:
    """The second factor: an encrypted secret and what is left of the recovery codes."""

    secret_ciphertext: str = field(repr=False)
    recovery_code_hashes: tuple[str, ...] = field(repr=False)
    revision: int = 0
    """As a session's."""


@dataclass(slots=True)
class UserState:
    """What the aggregate knows. `version` counts its events, from 1."""

    user_id: str
    version: int
    created_at: datetime
    updated_at: datetime
    email: EmailAddress | None
    """`None` once erased."""
    first_name: str = field(repr=False)
    last_name: str = field(repr=False)
    email_verified: bool = False
    password_hash: str | None = field(default=None, repr=False)
    credential_version: int = 0
    """Grows with each new password."""
    roles: tuple[str, ...] = ()
    session_epoch: int = 0
    failed_logins: int = 0
    lock_count: int = 0
    """Locks in a row: each lasts twice as long as the one before."""
    locked_until: datetime | None = None
    ban: Ban | None = field(default=None, repr=False)
    deactivated: bool = False
    deactivation_reason: str | None = field(default=None, repr=False)
    erased: bool = False
    two_factor_enabled: bool = False
    email_verification: OneTimeToken | None = None
    email_change: EmailChange | None = None
    password_reset: OneTimeToken | None = None
    sessions: dict[str, Session] = field(default_factory=dict)
    """Those that the commands in hand name, by id."""
    two_factor: TwoFactor | None = None
    """Only where a command in hand needs it."""

    def record(self, events: Sequence[Event], now: datetime) -> tuple[RecordedEvent, ...]:
        """Number what happened: each event is one version."""
        first = self.version + 1
        self.version += len(events)
        self.updated_at = now
        return tuple(RecordedEvent.of(event, number) for number, event in enumerate(events, first))
