"""The 30 domain events: what happened. Thin, and nothing in them is secret.

An e-mail address is in those alone whose purpose is to reach a person.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import ClassVar, TypeAlias

from domain.commands import message_type
from domain.values import render_time

JsonValue: TypeAlias = "str | int | bool | list[JsonValue] | dict[str, JsonValue] | None"

PERSONAL_FIELDS = frozenset({"email", "old_email", "new_email"})
"""The fields that an erasure empties in stored events; all of them are nullable."""


class Event:
    """Base of all events."""

    __slots__ = ()
    type: ClassVar[str]
    category: ClassVar[str]

    def __init_subclass__(cls, category: str | None = None) -> None:
        """Derive the message type from the class's name."""
        super().__init_subclass__()
        cls.type = message_type(cls.__name__)
        if category is not None:  # a slotted dataclass is made twice, the second time without
            cls.category = category

    def data(self) -> dict[str, JsonValue]:
        """Give the event's fields as JSON values."""
        return {field.name: _json(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]  # every subclass is a dataclass


def _json(value: object) -> JsonValue:
    if isinstance(value, datetime):
        return render_time(value)
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    assert value is None or isinstance(value, str | int)
    return value


@dataclass(frozen=True, slots=True)
class UserRegistered(Event, category="registration"):
    """A person signed up."""

    email: str | None


@dataclass(frozen=True, slots=True)
class UserCreated(Event, category="registration"):
    """An administrator created a user."""

    email: str | None
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProfileUpdated(Event, category="profile"):
    """Names changed; `changed` lists the fields."""

    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EmailVerificationRequested(Event, category="email"):
    """A verification mail is due."""

    email: str | None
    token_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class EmailVerified(Event, category="email"):
    """The user's address is theirs."""


@dataclass(frozen=True, slots=True)
class EmailChangeRequested(Event, category="email"):
    """A mail to the new address is due, and a notice to the present one."""

    email: str | None
    new_email: str | None
    token_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class EmailChanged(Event, category="email"):
    """The address was replaced."""

    old_email: str | None
    new_email: str | None


@dataclass(frozen=True, slots=True)
class PasswordChanged(Event, category="password"):
    """The user set a new password; every session ended."""

    credential_version: int


@dataclass(frozen=True, slots=True)
class PasswordResetRequested(Event, category="password"):
    """A reset mail is due."""

    email: str | None
    token_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class PasswordReset(Event, category="password"):
    """The password was reset; every session ended."""

    credential_version: int


@dataclass(frozen=True, slots=True)
class SessionStarted(Event, category="session"):
    """A login succeeded."""

    session_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class RefreshTokenRotated(Event, category="session"):
    """A session got its next refresh token."""

    session_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SessionRevoked(Event, category="session"):
    """A session ended."""

    session_id: str


@dataclass(frozen=True, slots=True)
class AllSessionsRevoked(Event, category="session"):
    """Every session ended."""

    session_epoch: int


@dataclass(frozen=True, slots=True)
class RefreshTokenReuseDetected(Event, category="session"):
    """A used refresh token came back: it may be stolen, and its session ended."""

    session_id: str


@dataclass(frozen=True, slots=True)
class LoginFailed(Event, category="status"):
    """A wrong password; `failed_logins` in a row."""

    failed_logins: int


@dataclass(frozen=True, slots=True)
class UserLocked(Event, category="status"):
    """Too many failures: no login before `locked_until`."""

    locked_until: datetime


@dataclass(frozen=True, slots=True)
class UserUnlocked(Event, category="status"):
    """The lock and the failures are gone."""


@dataclass(frozen=True, slots=True)
class TwoFactorEnabled(Event, category="two_factor"):
    """A second factor is asked for from now on."""


@dataclass(frozen=True, slots=True)
class TwoFactorDisabled(Event, category="two_factor"):
    """The second factor is gone."""


@dataclass(frozen=True, slots=True)
class RecoveryCodeUsed(Event, category="two_factor"):
    """A recovery code was spent; `remaining` are left."""

    remaining: int


@dataclass(frozen=True, slots=True)
class RoleAssigned(Event, category="role"):
    """The user has one more role."""

    role: str


@dataclass(frozen=True, slots=True)
class RoleRevoked(Event, category="role"):
    """The user has one role less."""

    role: str


@dataclass(frozen=True, slots=True)
class UserBanned(Event, category="status"):
    """The user is shut out, until a time or for good; every session ended."""

    until: datetime | None


@dataclass(frozen=True, slots=True)
class UserUnbanned(Event, category="status"):
    """The ban was lifted."""


@dataclass(frozen=True, slots=True)
class UserDeactivated(Event, category="status"):
    """The account rests; every session ended."""


@dataclass(frozen=True, slots=True)
class UserReactivated(Event, category="status"):
    """The account is awake again."""


@dataclass(frozen=True, slots=True)
class UserErased(Event, category="privacy"):
    """The person's data are gone; subscribers erase theirs."""


@dataclass(frozen=True, slots=True)
class CommandRejected(Event, category="command"):
    """A command was refused, for the reason in `code`."""

    command_id: str
    command_type: str
    code: str


@dataclass(frozen=True, slots=True)
class CommandHadNoEffect(Event, category="command"):
    """A command asked for what was so already."""

    command_id: str
    command_type: str


EVENTS: dict[str, type[Event]] = {
    event.type: event
    for event in (
        UserRegistered,
        UserCreated,
        ProfileUpdated,
        EmailVerificationRequested,
        EmailVerified,
        EmailChangeRequested,
        EmailChanged,
        PasswordChanged,
        PasswordResetRequested,
        PasswordReset,
        SessionStarted,
        RefreshTokenRotated,
        SessionRevoked,
        AllSessionsRevoked,
        RefreshTokenReuseDetected,
        LoginFailed,
        UserLocked,
        UserUnlocked,
        TwoFactorEnabled,
        TwoFactorDisabled,
        RecoveryCodeUsed,
        RoleAssigned,
        RoleRevoked,
        UserBanned,
        UserUnbanned,
        UserDeactivated,
        UserReactivated,
        UserErased,
        CommandRejected,
        CommandHadNoEffect,
    )
}
"""Every event by its message type."""


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event as it is stored with its command's outcome, and published from there."""

    type: str
    category: str
    sequence: int | None
    """The aggregate's version after the event; `None` for events of category command."""
    data: dict[str, JsonValue]

    @classmethod
    def of(cls, event: Event, sequence: int | None) -> RecordedEvent:
        """Record an event."""
        return cls(event.type, event.category, sequence, event.data())

    def without_personal_data(self) -> RecordedEvent:
        """Give it with the fields emptied that name a person, and everything else as it is."""
        data = {k: None if k in PERSONAL_FIELDS else value for k, value in self.data.items()}
        return RecordedEvent(self.type, self.category, self.sequence, data)
