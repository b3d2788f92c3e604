"""The 26 commands: what a service may ask for. Each is defined here and nowhere else.

The types of the fields carry the rules (see `values`); the boundary derives its validation
and the JSON Schema from them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, TypeAlias

from domain.values import EmailAddress, PasswordHash, TokenHash

TYPE_PREFIX = "biome.user."

# A string with a rule: the boundary finds the rule by this name. See `application.messages.fields`.
Id: TypeAlias = Annotated[str, "id"]
Name: TypeAlias = Annotated[str, "name"]
Reason: TypeAlias = Annotated[str, "reason"]
RoleName: TypeAlias = Annotated[str, "role"]
"""A role that the settings know."""
AnyRoleName: TypeAlias = Annotated[str, "any_role"]
"""A role by its form alone: one that the settings no longer know can still be revoked."""
Ciphertext: TypeAlias = Annotated[str, "ciphertext"]
CredentialVersion: TypeAlias = Annotated[int, "credential_version"]
RecoveryCodes: TypeAlias = Annotated[tuple[TokenHash, ...], "recovery_codes"]
Roles: TypeAlias = Annotated[tuple[RoleName, ...], "roles"]


def message_type(class_name: str) -> str:
    """Give the type of a message by its class: `BanUser` is version 1, `BanUserV2` version 2."""
    name, version = re.fullmatch(r"(.+?)(?:V([1-9][0-9]*))?", class_name, re.ASCII).groups()  # type: ignore[union-attr]  # any name matches
    return f"{TYPE_PREFIX}{name}.v{version or 1}"


class Command:
    """Base of all commands."""

    __slots__ = ()
    type: ClassVar[str]
    creates_user: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        """Derive the message type from the class's name."""
        super().__init_subclass__()
        cls.type = message_type(cls.__name__)


@dataclass(frozen=True, slots=True)
class RegisterUser(Command):
    """A person signs up."""

    email: EmailAddress
    first_name: Name
    last_name: Name
    password_hash: PasswordHash
    creates_user: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class CreateUser(Command):
    """An administrator creates a user, who has no password yet."""

    email: EmailAddress
    first_name: Name
    last_name: Name
    roles: Roles
    creates_user: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class UpdateProfile(Command):
    """Change one or both names."""

    first_name: Name | None = None
    last_name: Name | None = None


@dataclass(frozen=True, slots=True)
class RequestEmailVerification(Command):
    """Send a token to the user's address."""

    token_id: Id
    token_hash: TokenHash
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class VerifyEmail(Command):
    """The token of the verification mail came back."""

    token_hash: TokenHash


@dataclass(frozen=True, slots=True)
class RequestEmailChange(Command):
    """Send a token to the address that is to replace the user's."""

    new_email: EmailAddress
    token_id: Id
    token_hash: TokenHash
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ConfirmEmailChange(Command):
    """The token of the change mail came back: take over the address."""

    token_hash: TokenHash


@dataclass(frozen=True, slots=True)
class ChangePassword(Command):
    """The user, who knows the old password, sets a new one."""

    password_hash: PasswordHash
    credential_version: CredentialVersion


@dataclass(frozen=True, slots=True)
class RequestPasswordReset(Command):
    """Send a reset token; the user is named by id or by address."""

    token_id: Id
    token_hash: TokenHash
    expires_at: datetime
    email: EmailAddress | None = None


@dataclass(frozen=True, slots=True)
class ResetPassword(Command):
    """The reset token came back with a new password; named by id or by address."""

    token_hash: TokenHash
    password_hash: PasswordHash
    email: EmailAddress | None = None


@dataclass(frozen=True, slots=True)
class StartSession(Command):
    """The edge checked a login; this also resets the count of failures."""

    session_id: Id
    refresh_token_hash: TokenHash
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class RotateRefreshToken(Command):
    """Exchange a session's refresh token for its next one."""

    session_id: Id
    refresh_token_hash: TokenHash
    next_refresh_token_hash: TokenHash
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class RevokeSession(Command):
    """End one session."""

    session_id: Id


@dataclass(frozen=True, slots=True)
class RevokeAllSessions(Command):
    """End every session."""


@dataclass(frozen=True, slots=True)
class RecordLoginFailure(Command):
    """The edge saw a wrong password; enough of them lock the user."""


@dataclass(frozen=True, slots=True)
class UnlockUser(Command):
    """Lift a lock and forget the failures."""


@dataclass(frozen=True, slots=True)
class EnableTwoFactor(Command):
    """Store an encrypted secret and the hashes of 8 to 16 recovery codes."""

    secret_ciphertext: Ciphertext
    recovery_code_hashes: RecoveryCodes


@dataclass(frozen=True, slots=True)
class DisableTwoFactor(Command):
    """Remove the second factor."""


@dataclass(frozen=True, slots=True)
class UseRecoveryCode(Command):
    """Spend one recovery code."""

    code_hash: TokenHash


@dataclass(frozen=True, slots=True)
class AssignRole(Command):
    """Give the user a role."""

    role: RoleName


@dataclass(frozen=True, slots=True)
class RevokeRole(Command):
    """Take a role from the user."""

    role: AnyRoleName


@dataclass(frozen=True, slots=True)
class BanUser(Command):
    """Shut the user out, for a time or for good."""

    reason: Reason
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class UnbanUser(Command):
    """Lift a ban."""


@dataclass(frozen=True, slots=True)
class DeactivateUser(Command):
    """Put the account to rest."""

    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class ReactivateUser(Command):
    """Wake an account that was put to rest."""


@dataclass(frozen=True, slots=True)
class EraseUser(Command):
    """Remove the person's data; a tombstone stays and the address is free again."""


COMMANDS: dict[str, type[Command]] = {
    command.type: command
    for command in (
        RegisterUser,
        CreateUser,
        UpdateProfile,
        RequestEmailVerification,
        VerifyEmail,
        RequestEmailChange,
        ConfirmEmailChange,
        ChangePassword,
        RequestPasswordReset,
        ResetPassword,
        StartSession,
        RotateRefreshToken,
        RevokeSession,
        RevokeAllSessions,
        RecordLoginFailure,
        UnlockUser,
        EnableTwoFactor,
        DisableTwoFactor,
        UseRecoveryCode,
        AssignRole,
        RevokeRole,
        BanUser,
        UnbanUser,
        DeactivateUser,
        ReactivateUser,
        EraseUser,
    )
}
"""Every command by its message type."""


@dataclass(frozen=True, slots=True)
class CommandEnvelope:
    """A command with all that its message says around it."""

    command_id: str
    user_id: str | None
    """`None` when the command names its user by e-mail address."""
    command: Command
    fingerprint: str
    """Of the type, the subject and the data: the same id with another one is a mistake."""
    source: str
    sent_at: datetime
    """The message's `time`, or when it was sent to the queue."""
    expected_version: int | None = None
    expires_at: datetime | None = None
    correlation_id: str | None = None
    actor: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    sent_as: str | None = None
    """The message type of an older version that `command` was made of."""

    @property
    def type(self) -> str:
        """The message type that the producer sent and knows."""
        return self.sent_as or self.command.type

    @property
    def by_email(self) -> EmailAddress | None:
        """The address that names the user, where the command names it so."""
        if self.user_id is None and isinstance(self.command, RequestPasswordReset | ResetPassword):
            return self.command.email
        return None
