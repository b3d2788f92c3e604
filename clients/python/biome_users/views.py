"""Views for readers of users: frozen, typed, with nothing secret or personal in their repr."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class LoginRefusal(StrEnum):
    """Reason that a user may not log in now, in the order of the checks of StartSession."""

    USER_ERASED = "UserErased"
    USER_BANNED = "UserBanned"
    USER_LOCKED = "UserLocked"
    USER_DEACTIVATED = "UserDeactivated"


class SessionRefusal(StrEnum):
    """Why a session may not continue."""

    USER_NOT_FOUND = "UserNotFound"
    USER_ERASED = "UserErased"
    USER_BANNED = "UserBanned"
    USER_DEACTIVATED = "UserDeactivated"
    SESSION_NOT_FOUND = "SessionNotFound"
    """Never started, not started yet, revoked, or removed after it expired."""
    SESSION_EXPIRED = "SessionExpired"
    SESSION_ENDED = "SessionEnded"
    """The session ended: by a logout everywhere, a password change, a ban, or too many newer
    sessions."""
    REFRESH_TOKEN_REUSED = "RefreshTokenReused"  # noqa: S105 - a code, not a secret
    """The token belongs to this session, but its changing part was replaced and is not accepted.

    Send RotateRefreshToken anyway: the worker then ends the session and publishes the event.
    """
    REFRESH_TOKEN_UNKNOWN = "RefreshTokenUnknown"  # noqa: S105 - a code, not a secret


@dataclass(frozen=True, slots=True)
class UserView:
    """A user, as read."""

    user_id: str
    version: int
    """Number of the user's events; compare it with their `sequence`."""
    email: str | None = field(repr=False)
    """`None` if the user is erased."""
    first_name: str = field(repr=False)
    last_name: str = field(repr=False)
    email_verified: bool
    password_hash: str | None = field(repr=False)
    """The hash to check a password with. `None` if no password is set, and from a `UserReader`. See
    `password_hash_legacy`."""
    credential_version: int
    """The version for StartSession, ChangePassword and UpgradePasswordHash."""
    roles: tuple[str, ...]
    locked_until: datetime | None
    banned: bool
    """Whether there is a ban; it may have expired: see `is_banned`."""
    banned_until: datetime | None
    """End of a ban; `None` for a permanent ban."""
    deactivated: bool
    erased: bool
    two_factor_enabled: bool
    password_hash_legacy: bool = False
    """Whether `password_hash` is of another system: replace it at the next login."""
    locale: str | None = None
    time_zone: str | None = None
    live_sessions: tuple[str, ...] = ()
    """Ids of the sessions that have not ended, oldest first; some may have expired."""

    def is_locked(self, now: datetime) -> bool:
        """Return True if the user is locked out at this time after too many login failures."""
        return self.locked_until is not None and self.locked_until > now

    def is_banned(self, now: datetime) -> bool:
        """Return True if a ban is in force at this time."""
        return self.banned and (self.banned_until is None or self.banned_until > now)

    def login_refusal(self, now: datetime) -> LoginRefusal | None:
        """Return why the user may not log in at this time; `None` if only the password decides.

        The worker decides again at StartSession, by the state that is stored then.
        """
        if self.erased:
            return LoginRefusal.USER_ERASED
        if self.is_banned(now):
            return LoginRefusal.USER_BANNED
        if self.is_locked(now):
            return LoginRefusal.USER_LOCKED
        return LoginRefusal.USER_DEACTIVATED if self.deactivated else None


@dataclass(frozen=True, slots=True)
class SecondFactorView:
    """A user's second factor, as a login service needs it."""

    secret_ciphertext: str = field(repr=False)
    """The secret, as the edge encrypted it."""
    last_totp_step: int
    """A step up to this one has been used: do not accept it."""


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session, as a list of "your devices" shows it."""

    session_id: str
    started_at: datetime | None
    last_used_at: datetime | None
    """Time of the start or of the last exchange of the refresh token."""
    expires_at: datetime
    methods: tuple[str, ...]
    """Methods by which the user was authenticated (RFC 8176)."""
    device: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SessionCheck:
    """Whether a session may continue; its truth value is True exactly if it may."""

    refusal: SessionRefusal | None
    user_id: str
    session_id: str
    expires_at: datetime | None
    """When the session expires, to the second; `None` if the session does not exist."""
    user: UserView | None
    """`None` if the user does not exist."""

    @property
    def good(self) -> bool:
        """Whether the session may continue."""
        return self.refusal is None

    def __bool__(self) -> bool:
        return self.good


@dataclass(frozen=True, slots=True)
class OutcomeView:
    """Outcome of a command, as the worker stored it."""

    command_id: str
    code: str | None
    """Reason of a rejection; `None` if the command was accepted."""
    version: int
    """The user's version after the command."""

    @property
    def accepted(self) -> bool:
        """Whether the command was accepted, with or without an effect."""
        return self.code is None
