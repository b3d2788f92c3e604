"""The errors of the domain: an invalid value and a rejected command."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class DomainError(Exception):
    """Base of the domain's errors."""


class InvalidValueError(DomainError, ValueError):
    """A value breaks a rule; the message states the rule and never the value."""


class RejectionCode(StrEnum):
    """Why a command was rejected; stored with its outcome and published.

    The code is the whole text. A terminal shows it by `operations.presentation`.
    """

    EMAIL_TAKEN = "EmailTaken"
    USER_ALREADY_EXISTS = "UserAlreadyExists"
    USER_NOT_FOUND = "UserNotFound"
    USER_ERASED = "UserErased"
    USER_BANNED = "UserBanned"
    USER_LOCKED = "UserLocked"
    USER_DEACTIVATED = "UserDeactivated"
    VERSION_CONFLICT = "VersionConflict"
    COMMAND_EXPIRED = "CommandExpired"
    TOKEN_INVALID = "TokenInvalid"  # noqa: S105 - a code, no secret
    TOKEN_EXPIRED = "TokenExpired"  # noqa: S105 - a code, no secret
    CREDENTIAL_STALE = "CredentialStale"
    SESSION_ALREADY_EXISTS = "SessionAlreadyExists"
    SESSION_NOT_FOUND = "SessionNotFound"
    SESSION_EXPIRED = "SessionExpired"
    REFRESH_TOKEN_REUSED = "RefreshTokenReused"  # noqa: S105 - a code, no secret
    TWO_FACTOR_ALREADY_ENABLED = "TwoFactorAlreadyEnabled"
    TWO_FACTOR_NOT_ENABLED = "TwoFactorNotEnabled"
    CODE_INVALID = "CodeInvalid"
    SECOND_FACTOR_REQUIRED = "SecondFactorRequired"
    SECOND_FACTOR_REPLAYED = "SecondFactorReplayed"
    TOO_MANY_DOCUMENTS = "TooManyDocuments"


class RejectedError(DomainError):
    """The domain rejects a command; nothing was changed, unless there are events."""

    def __init__(self, code: RejectionCode, events: tuple[Any, ...] = ()) -> None:
        """Reject with `code`; `events` describe what changed nevertheless."""
        super().__init__(code.value)
        self.code = code
        self.events = events
