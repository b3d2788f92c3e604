"""What a reader of users gets to see: frozen, typed, nothing secret or personal in its repr."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from domain.user import User
from user_client.errors import UserClientError


class UnreadableError(UserClientError):
    """What is stored cannot be read: damaged, or of a later format than this client knows.

    Never take it for an answer: who cannot be read is neither let in nor unknown.
    """


class LoginRefusal(StrEnum):
    """Why a user may not log in now; in the order in which the worker decides StartSession."""

    USER_ERASED = "UserErased"
    USER_BANNED = "UserBanned"
    USER_LOCKED = "UserLocked"
    USER_DEACTIVATED = "UserDeactivated"


class SessionRefusal(StrEnum):
    """Why a session may not go on."""

    USER_NOT_FOUND = "UserNotFound"
    USER_ERASED = "UserErased"
    USER_BANNED = "UserBanned"
    USER_DEACTIVATED = "UserDeactivated"
    SESSION_NOT_FOUND = "SessionNotFound"
    """Never begun, not begun yet, revoked, or removed after it expired."""
    SESSION_EXPIRED = "SessionExpired"
    SESSION_ENDED = "SessionEnded"
    """All of the user's sessions were ended after it began: by a password, a ban, a logout."""
    REFRESH_TOKEN_REUSED = "RefreshTokenReused"  # noqa: S105 - a code, no secret
    """The token was this session's and has been exchanged: send RotateRefreshToken all the same,
    and the worker revokes the session."""
    REFRESH_TOKEN_UNKNOWN = "RefreshTokenUnknown"  # noqa: S105 - a code, no secret


@dataclass(frozen=True, slots=True)
class UserView:
    """One user, as read."""

    user_id: str
    version: int
    """Counts the user's events: compare it with their `sequence`."""
    email: str | None = field(repr=False)
    """`None` once erased."""
    first_name: str = field(repr=False)
    last_name: str = field(repr=False)
    email_verified: bool
    password_hash: str | None = field(repr=False)
    """argon2id, a PHC string; `None` for a user whom an admin created and who has set none."""
    credential_version: int
    """What ChangePassword has to name."""
    roles: tuple[str, ...]
    session_epoch: int
    locked_until: datetime | None
    banned: bool
    """Whether there is a ban; it may have run out: see `is_banned`."""
    banned_until: datetime | None
    """`None` in a ban: for good."""
    deactivated: bool
    erased: bool
    two_factor_enabled: bool

    @classmethod
    def of(cls, user: User) -> UserView:
        """Show what a reader may see of an aggregate."""
        return cls(
            user_id=user.user_id,
            version=user.version,
            email=None if user.email is None else user.email.value,
            first_name=user.first_name,
            last_name=user.last_name,
            email_verified=user.email_verified,
            password_hash=user.password_hash,
            credential_version=user.credential_version,
            roles=user.roles,
            session_epoch=user.session_epoch,
            locked_until=user.locked_until,
            banned=user.ban is not None,
            banned_until=None if user.ban is None else user.ban.until,
            deactivated=user.deactivated,
            erased=user.erased,
            two_factor_enabled=user.two_factor_enabled,
        )

    def is_locked(self, now: datetime) -> bool:
        """Tell whether too many login failures keep the user out at a time."""
        return self.locked_until is not None and self.locked_until > now

    def is_banned(self, now: datetime) -> bool:
        """Tell whether a ban is in force at a time."""
        return self.banned and (self.banned_until is None or self.banned_until > now)

    def login_refusal(self, now: datetime) -> LoginRefusal | None:
        """Say why the user may not log in at a time; `None`: nothing but the password decides.

        The worker decides the same again at StartSession, on what is stored then.
        """
        if self.erased:
            return LoginRefusal.USER_ERASED
        if self.is_banned(now):
            return LoginRefusal.USER_BANNED
        if self.is_locked(now):
            return LoginRefusal.USER_LOCKED
        return LoginRefusal.USER_DEACTIVATED if self.deactivated else None


@dataclass(frozen=True, slots=True)
class SessionCheck:
    """Whether a session may go on; true in a condition exactly when it may."""

    refusal: SessionRefusal | None
    user_id: str
    session_id: str
    expires_at: datetime | None
    """When the session ends by itself, to the second; `None`: there is no such session."""
    user: UserView | None
    """`None`: there is no such user."""

    @property
    def good(self) -> bool:
        """Tell whether the session may go on."""
        return self.refusal is None

    def __bool__(self) -> bool:
        return self.good
