"""The domain events: what happened to a user. They are small and contain no secret.

Only events that lead to a mail to the person contain an e-mail address. A field's type carries
its rule, as in `domain.commands`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, TypeAlias

from domain import fields
from domain.commands import (
    EMAIL,
    NEW_EMAIL,
    ContinuingSessionId,
    EndTime,
    ExpiryTime,
    LoginStage,
    RoleName,
    SessionId,
    TermsDocument,
    TermsVersion,
    TokenId,
    VerifiedFlag,
    message_type,
)
from domain.fields import Items, Number, Text, fields_of
from domain.values import render_time

JsonValue: TypeAlias = "str | int | bool | list[JsonValue] | dict[str, JsonValue] | None"


def _unchecked(pattern: str, description: str, example: str) -> Text:
    """Return the rule of a text that only the worker writes; it is not checked."""
    return Text(parse=str, pattern=pattern, description=description, example=example)


# --- types of fields, where they differ from those of commands ---

EmailText: TypeAlias = Annotated[str, EMAIL]
NewEmailText: TypeAlias = Annotated[str, NEW_EMAIL]
NewCredentialVersion: TypeAlias = Annotated[
    int, Number(description="Credential version from now on.", example=2)
]
CommandId: TypeAlias = Annotated[
    str,
    fields.ID.of(
        "Id of the command; the same as causationid.", "0190b6d2-7d8a-7c1e-9a53-0a1f5d0c9b11"
    ),
]
CommandType: TypeAlias = Annotated[
    str,
    _unchecked(
        r"^biome\.user\.[A-Z][A-Za-z0-9]*\.v[1-9][0-9]*$",
        "The command's message type, as it was sent.",
        "biome.user.AssignRole.v1",
    ),
]


# --- events ---


class Event:
    """Base of all events."""

    __slots__ = ()
    type: ClassVar[str]
    category: ClassVar[str]

    def __init_subclass__(cls, category: str | None = None) -> None:
        """Derive the message type from the class's name."""
        super().__init_subclass__()
        cls.type = message_type(cls.__name__)
        if category is not None:  # a slotted dataclass is created twice, the second time without it
            cls.category = category

    def data(self) -> dict[str, JsonValue]:
        """Return the event's fields as JSON values."""
        return {field.name: _json(getattr(self, field.name)) for field in fields_of(type(self))}


def _json(value: object) -> JsonValue:
    if isinstance(value, datetime):
        return render_time(value)
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    assert value is None or isinstance(value, str | int)
    return value


@dataclass(frozen=True, slots=True)
class UserRegistered(Event, category="registration"):
    """A user registered with a password."""

    email: EmailText | None


@dataclass(frozen=True, slots=True)
class UserCreated(Event, category="registration"):
    """An administrator created a user."""

    email: EmailText | None
    roles: Annotated[
        tuple[str, ...],
        Items(
            item=fields.ROLE,
            description="Names of the user's roles; the worker's settings list the known roles.",
            example=["customer"],
        ),
    ]
    email_verified: VerifiedFlag


@dataclass(frozen=True, slots=True)
class ProfileUpdated(Event, category="profile"):
    """The first name, the last name, or both changed; `changed` lists the fields."""

    changed: Annotated[
        tuple[str, ...],
        Items(
            item=Text(parse=str, pattern="^[a-z][a-z0-9_]{0,49}$"),
            description="The names of the fields that changed.",
            example=["first_name"],
        ),
    ]


@dataclass(frozen=True, slots=True)
class EmailVerificationRequested(Event, category="email"):
    """E-mail verification was requested; the mailer sends the token to the address."""

    email: EmailText | None
    token_id: TokenId
    expires_at: ExpiryTime


@dataclass(frozen=True, slots=True)
class EmailVerified(Event, category="email"):
    """The user's e-mail address was verified."""


@dataclass(frozen=True, slots=True)
class EmailChangeRequested(Event, category="email"):
    """An e-mail change was requested; the mailer writes to the new and the old address."""

    email: EmailText | None
    new_email: NewEmailText | None
    token_id: TokenId
    expires_at: ExpiryTime


@dataclass(frozen=True, slots=True)
class EmailChangeCancelled(Event, category="email"):
    """A requested change of the e-mail address was cancelled."""


@dataclass(frozen=True, slots=True)
class EmailChanged(Event, category="email"):
    """The e-mail address was changed."""

    old_email: (
        Annotated[str, fields.EMAIL.of("The address that was replaced.", "ada@example.com")] | None
    )
    new_email: NewEmailText | None


@dataclass(frozen=True, slots=True)
class PasswordChanged(Event, category="password"):
    """The user set a new password; all sessions ended."""

    credential_version: NewCredentialVersion


@dataclass(frozen=True, slots=True)
class PasswordHashUpgraded(Event, category="password"):
    """The hash of the password was replaced by a stronger one; the password is the same."""

    credential_version: Annotated[
        int, Number(description="Credential version of the password.", example=1)
    ]


@dataclass(frozen=True, slots=True)
class PasswordResetRequested(Event, category="password"):
    """A password reset was requested; the mailer sends the token to the address."""

    email: EmailText | None
    token_id: TokenId
    expires_at: ExpiryTime


@dataclass(frozen=True, slots=True)
class PasswordReset(Event, category="password"):
    """The password was reset; all sessions ended."""

    credential_version: NewCredentialVersion


@dataclass(frozen=True, slots=True)
class SessionStarted(Event, category="session"):
    """A session started after a successful login."""

    session_id: SessionId
    expires_at: ExpiryTime


@dataclass(frozen=True, slots=True)
class RefreshTokenRotated(Event, category="session"):
    """A session's refresh token was replaced with the next one."""

    session_id: SessionId
    expires_at: ExpiryTime


@dataclass(frozen=True, slots=True)
class SessionRevoked(Event, category="session"):
    """A session ended."""

    session_id: SessionId


@dataclass(frozen=True, slots=True)
class OtherSessionsRevoked(Event, category="session"):
    """All sessions of the user ended except one."""

    session_id: ContinuingSessionId
    ended: Annotated[int, Number(description="Number of sessions that ended.", example=2)]


@dataclass(frozen=True, slots=True)
class AllSessionsRevoked(Event, category="session"):
    """All sessions of the user ended."""

    credential_version: NewCredentialVersion


@dataclass(frozen=True, slots=True)
class RefreshTokenReuseDetected(Event, category="session"):
    """A refresh token was used twice and may be stolen; its session ended."""

    session_id: SessionId


@dataclass(frozen=True, slots=True)
class LoginFailed(Event, category="status"):
    """A login failed because of a wrong password or second factor."""

    failed_logins: Annotated[
        int,
        Number(description="Number of consecutive login failures, including this one.", example=3),
    ]
    stage: LoginStage


@dataclass(frozen=True, slots=True)
class UserLocked(Event, category="status"):
    """The user was locked until `locked_until` after too many login failures."""

    locked_until: Annotated[
        datetime, fields.TIME.of("When a login is possible again.", "2026-12-24T18:00:00.000Z")
    ]


@dataclass(frozen=True, slots=True)
class UserUnlocked(Event, category="status"):
    """The user was unlocked, and the count of login failures was reset."""


@dataclass(frozen=True, slots=True)
class TwoFactorEnabled(Event, category="two_factor"):
    """The second factor was enabled."""


@dataclass(frozen=True, slots=True)
class TwoFactorDisabled(Event, category="two_factor"):
    """The second factor was disabled."""


@dataclass(frozen=True, slots=True)
class RecoveryCodeUsed(Event, category="two_factor"):
    """A recovery code was used; `remaining` codes are left."""

    remaining: Annotated[
        int, Number(description="Number of recovery codes that are left.", example=7)
    ]


@dataclass(frozen=True, slots=True)
class RecoveryCodesRegenerated(Event, category="two_factor"):
    """All recovery codes were replaced."""

    count: Annotated[int, Number(description="Number of new recovery codes.", example=8)]


@dataclass(frozen=True, slots=True)
class TermsAccepted(Event, category="profile"):
    """The user accepted a version of a document."""

    document: TermsDocument
    version: TermsVersion


@dataclass(frozen=True, slots=True)
class RoleAssigned(Event, category="role"):
    """A role was assigned to the user."""

    role: RoleName


@dataclass(frozen=True, slots=True)
class RoleRevoked(Event, category="role"):
    """A role of the user was revoked."""

    role: RoleName


@dataclass(frozen=True, slots=True)
class UserBanned(Event, category="status"):
    """The user was banned until a given time or permanently; all sessions ended."""

    until: EndTime | None


@dataclass(frozen=True, slots=True)
class UserUnbanned(Event, category="status"):
    """The user's ban was removed."""


@dataclass(frozen=True, slots=True)
class UserDeactivated(Event, category="status"):
    """The account was deactivated; all sessions ended."""


@dataclass(frozen=True, slots=True)
class UserReactivated(Event, category="status"):
    """The account was reactivated."""


@dataclass(frozen=True, slots=True)
class UserErased(Event, category="privacy"):
    """The user's personal data was erased; subscribers must erase their copies."""


@dataclass(frozen=True, slots=True)
class CommandRejected(Event, category="command"):
    """A command was rejected; `code` is the reason."""

    command_id: CommandId
    command_type: CommandType
    code: Annotated[
        str,
        _unchecked(
            "^[A-Z][A-Za-z]*$",
            "The reason of the rejection. Codes may be added.",
            "UserNotFound",
        ),
    ]


@dataclass(frozen=True, slots=True)
class CommandHadNoEffect(Event, category="command"):
    """A command was accepted, but the user already had the requested state."""

    command_id: CommandId
    command_type: CommandType


@dataclass(frozen=True, slots=True)
class CommandDeadLettered(Event, category="command"):
    """A command is invalid, or failed too often; it is in the dead-letter queue."""

    command_id: CommandId
    command_type: CommandType
    code: Annotated[
        str,
        _unchecked(
            "^[A-Z][A-Za-z]*$",
            "The error_code of the dead letter. Codes may be added.",
            "InvalidField",
        ),
    ]


EVENTS: dict[str, type[Event]] = {event.type: event for event in Event.__subclasses__()}
"""Every event by its message type, in the order of the definitions; see `COMMANDS`."""

PERSONAL_FIELDS = frozenset(
    field.name for event in EVENTS.values() for field in fields_of(event) if field.personal
)
"""Names of the fields that identify a person.

An erasure sets them to null in stored events, and they are null on the ordinary topic.
"""


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event as stored with the outcome of its command and then published."""

    type: str
    category: str
    sequence: int | None
    """The aggregate's version after the event; `None` for events of category `command`."""
    data: dict[str, JsonValue]

    @classmethod
    def of(cls, event: Event, sequence: int | None) -> RecordedEvent:
        """Return the record of an event."""
        return cls(event.type, event.category, sequence, event.data())

    @property
    def is_personal(self) -> bool:
        """Whether a personal field of the event has a value."""
        return any(self.data.get(name) is not None for name in PERSONAL_FIELDS)

    def without_personal_data(self) -> RecordedEvent:
        """Return the event with its personal fields set to null."""
        data = {k: None if k in PERSONAL_FIELDS else value for k, value in self.data.items()}
        return RecordedEvent(self.type, self.category, self.sequence, data)
