"""The commands that a service may send. Each is defined here and nowhere else.

`domain.handlers` passes a command to the aggregate.

A field's type carries its rule (see `domain.fields`): validation, JSON Schemas, the Python client,
the tables in docs/reference/messages.md and test data are derived from it. The types below belong
to fields of several messages; a field of one message may state its rule in place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Annotated, ClassVar, TypeAlias

from domain import fields
from domain.errors import InvalidValueError
from domain.errors import RejectionCode as Code
from domain.fields import Flag, Items, Number, fields_of
from domain.policy import ACCESS_COMMAND_AGE, SESSION_COMMAND_AGE
from domain.values import EmailAddress, PasswordHash, TokenHash

TYPE_PREFIX = "biome.user."

# --- types of fields ---

_ADDRESS = "E-mail address: trimmed, composed (NFC), its domain in lower-case ASCII."
_EXAMPLE_TIME = "2026-12-24T18:00:00.000Z"


def _example_hash(byte: int) -> str:
    return f"{byte:02x}" * 32


EMAIL = fields.EMAIL.of(_ADDRESS, "ada@example.com")
NEW_EMAIL = fields.EMAIL.of(
    f"The address that replaces the current one. {_ADDRESS}", "ada@example.org"
)
Email: TypeAlias = Annotated[EmailAddress, EMAIL]
NewEmail: TypeAlias = Annotated[EmailAddress, NEW_EMAIL]
NamingEmail: TypeAlias = Annotated[
    EmailAddress,
    fields.EMAIL.of(f"Identifies the user instead of subject. {_ADDRESS}", "ada@example.com"),
]
FirstName: TypeAlias = Annotated[
    str, fields.NAME.of("Given name: trimmed, composed (NFC), visible text.", "Ada")
]
LastName: TypeAlias = Annotated[
    str, fields.NAME.of("Family name: trimmed, composed (NFC), visible text.", "Lovelace")
]
Argon2Hash: TypeAlias = Annotated[
    PasswordHash,
    fields.PASSWORD_HASH.of(
        "Argon2id hash in PHC form, at least m=47104,t=1 or m=19456,t=2 or m=12288,t=3 "
        "or m=9216,t=4 or m=7168,t=5, at most m=1048576,t=20,p=16; "
        "computed at the edge. Never the password itself.",
        # The hash of a random password that was not kept.
        "$argon2id$v=19$m=19456,t=2,p=1$SozvRNUKuA7HTe2K2fhYRg$wXhzswWI2gwDWkqoBvLAETSkgeCqsph2//w99esuMQE",
    ),
]
ImportedHash: TypeAlias = Annotated[
    PasswordHash,
    fields.IMPORTED_HASH.of(
        "Argon2id hash, or a hash of another system: bcrypt with a cost of 10 to 16, scrypt of at "
        "most 1 GiB (2^ln * r * p = 2^23), or PBKDF2 of 10,000 to 10,000,000 iterations, in PHC or "
        "modular crypt form. The edge replaces the latter at the next login with "
        "UpgradePasswordHash.",
        "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
    ),
]
Locale: TypeAlias = Annotated[
    str,
    fields.matching(
        "[a-zA-Z]{2,3}(-[a-zA-Z0-9]{1,8}){0,5}",
        "must be a BCP 47 language tag such as de or de-CH",
        description="Language of messages to the user, a BCP 47 tag.",
        example="de-CH",
    ),
]
TimeZone: TypeAlias = Annotated[
    str,
    fields.matching(
        "[A-Za-z][A-Za-z0-9_+-]{0,31}(/[A-Za-z0-9][A-Za-z0-9_+-]{0,31}){0,2}",
        "must be the name of an IANA time zone such as Europe/Zurich",
        description="The user's time zone, an IANA name.",
        example="Europe/Zurich",
    ),
]
TermsDocument: TypeAlias = Annotated[
    str,
    fields.matching(
        "[a-z][a-z0-9_-]{0,49}",
        "must be a lower-case name of 1 to 50 letters, digits, - or _",
        description="Name of the document that the user accepts.",
        example="terms-of-service",
    ),
]
TermsVersion: TypeAlias = Annotated[
    str,
    fields.matching(
        "[A-Za-z0-9][A-Za-z0-9._-]{0,49}",
        "must have 1 to 50 letters, digits, dots, - or _",
        description="Version of the document.",
        example="2026-11",
    ),
]
LoginStage: TypeAlias = Annotated[
    str,
    replace(
        fields.matching(
            "(password|second_factor)",
            "must be password or second_factor",
            description="What was wrong: password (default) or second_factor.",
            example="password",
        ),
        shown=True,
    ),
]
LoginMethods: TypeAlias = Annotated[
    tuple[str, ...],
    Items(
        item=fields.matching(
            "[a-z][a-z0-9_-]{1,7}",
            "must be a method of RFC 8176 such as pwd or otp, of 2 to 8 characters",
            description="",
            example="pwd",
        ),
        min_items=1,
        max_items=5,  # with the longest device label, a session's item stays under 1 KB
        description="How the user authenticated: values of RFC 8176.",
        example=["pwd", "otp"],
    ),
]
TotpStep: TypeAlias = Annotated[
    int,
    Number(
        description="Step of the one-time password that the edge has checked: "
        "Unix time divided by 30 s. Each step is accepted once.",
        example=59804640,
    ),
]
DeviceLabel: TypeAlias = Annotated[
    str,
    fields.NAME.of("Label of the device, for the user's list of sessions.", "Firefox on Linux"),
]
CredentialVersion: TypeAlias = Annotated[
    int,
    Number(
        description="Credential version that was read with the password or the session; "
        "the command is rejected if access has ended since.",
        example=1,
    ),
]
TokenId: TypeAlias = Annotated[
    str,
    fields.ID.of(
        "Id of the token. The edge and the mailer derive the token from it with a shared key.",
        "7b0f1c52-58a5-4d43-8a36-0b2b8a3b1c01",
    ),
]
MailedTokenHash: TypeAlias = Annotated[
    TokenHash,
    fields.TOKEN_HASH.of("SHA-256 of the token, in hexadecimal.", _example_hash(0x11)),
]
ExpiryTime: TypeAlias = Annotated[
    datetime, fields.TIME.of("When the token or the session expires.", _EXAMPLE_TIME)
]
SessionId: TypeAlias = Annotated[
    str,
    fields.ID.of("Id of the session, created by the edge.", "0190b6d2-9c10-7b3e-8d21-5b6f0a9c4e02"),
]
ContinuingSessionId: TypeAlias = Annotated[
    str,
    fields.ID.of("Id of the session that continues.", "0190b6d2-9c10-7b3e-8d21-5b6f0a9c4e02"),
]
RefreshFamilyHash: TypeAlias = Annotated[
    TokenHash,
    fields.TOKEN_HASH.of(
        "SHA-256 of the secret that all refresh tokens of the session share, in hexadecimal.",
        _example_hash(0x21),
    ),
]
RefreshTokenHash: TypeAlias = Annotated[
    TokenHash,
    fields.TOKEN_HASH.of(
        "SHA-256 of the part of the refresh token that each exchange replaces, in hexadecimal.",
        _example_hash(0x22),
    ),
]
RecoveryCodes: TypeAlias = Annotated[
    tuple[TokenHash, ...],
    Items(
        item=fields.TOKEN_HASH,
        min_items=8,
        max_items=16,
        description="SHA-256 of each recovery code, in hexadecimal.",
        example=[_example_hash(byte) for byte in range(0x40, 0x48)],
    ),
]
_KNOWN_ROLE = replace(fields.ROLE, setting="roles", shown=True)
RoleName: TypeAlias = Annotated[
    str, _KNOWN_ROLE.of("Name of a role that the worker's settings list.", "lab_assistant")
]
AnyRoleName: TypeAlias = Annotated[
    str,
    fields.ROLE.of(
        "Name of a role. A role that the settings no longer list can still be revoked.",
        "customer",
    ),
]
Roles: TypeAlias = Annotated[
    tuple[str, ...],
    Items(
        item=_KNOWN_ROLE,
        max_items=20,
        description="Names of the user's roles; the worker's settings list the known roles.",
        example=["customer"],
    ),
]
VerifiedFlag: TypeAlias = Annotated[
    bool,
    Flag(
        description="True if another system has verified the e-mail address: "
        "the user needs no verification mail.",
        example=True,
    ),
]
CreationTime: TypeAlias = Annotated[
    datetime,
    fields.CREATION_TIME.of(
        "When another system created the account: not before 1990, and not after the command "
        "was sent. Default: when the command is applied.",
        "2019-03-01T09:30:00.000Z",
    ),
]
Reason: TypeAlias = Annotated[
    str, fields.REASON.of("The reason, for administrators: visible text.", "spam")
]
EndTime: TypeAlias = Annotated[
    datetime,
    fields.TIME.of("When the ban ends. If absent or null, the ban is permanent.", _EXAMPLE_TIME),
]


# --- commands ---


def message_type(class_name: str) -> str:
    """Return the message type of a class: `BanUser` is version 1, `BanUserV2` version 2."""
    name, version = re.fullmatch(r"(.+?)(?:V([1-9][0-9]*))?", class_name, re.ASCII).groups()  # type: ignore[union-attr]  # any name matches
    return f"{TYPE_PREFIX}{name}.v{version or 1}"


ANY_COMMAND_REJECTIONS = (
    Code.USER_NOT_FOUND,
    Code.USER_ERASED,
    Code.VERSION_CONFLICT,
    Code.COMMAND_EXPIRED,
)
"""Why any command may be rejected. A command that creates a user never gets USER_NOT_FOUND."""


class Command:
    """Base of all commands."""

    __slots__ = ()
    type: ClassVar[str]
    creates_user: ClassVar[bool] = False
    needs_two_factor: ClassVar[bool] = False
    """Whether the second factor must be loaded to decide the command."""
    needs_a_field: ClassVar[bool] = False
    """Whether at least one of the optional fields must be present."""
    max_age: ClassVar[timedelta | None] = None
    """The age above which the command is rejected as expired; `None`: only the general limit.

    Commands that shut a user or a session out have only the general limit: rejecting a late one
    would leave access open.
    """
    rejections: ClassVar[tuple[Code, ...]] = ()
    """Why the command may be rejected, besides `ANY_COMMAND_REJECTIONS`."""

    def __init_subclass__(cls) -> None:
        """Derive the message type from the class's name."""
        super().__init_subclass__()
        cls.type = message_type(cls.__name__)

    def check_times(self, sent_at: datetime) -> None:
        """Check the times of the command against the time at which it was sent.

        Raises:
            InvalidValueError: a time is not possible; the message names the field.
        """

    @classmethod
    def may_name_by_email(cls) -> bool:
        """Return True if `email` may identify the user instead of the message's subject."""
        return not cls.creates_user and any(field.name == "email" for field in fields_of(cls))


@dataclass(frozen=True, slots=True)
class RegisterUser(Command):
    """Register a user with a password."""

    email: Email
    first_name: FirstName
    last_name: LastName | None = field(default=None, kw_only=True)
    password_hash: Argon2Hash
    locale: Locale | None = None
    time_zone: TimeZone | None = None
    creates_user: ClassVar[bool] = True
    rejections: ClassVar[tuple[Code, ...]] = (Code.USER_ALREADY_EXISTS, Code.EMAIL_TAKEN)


@dataclass(frozen=True, slots=True)
class CreateUser(Command):
    """Create a user by an administrator or an import; without a hash the user has no password."""

    email: Email
    first_name: FirstName
    last_name: LastName | None = field(default=None, kw_only=True)
    roles: Roles
    password_hash: ImportedHash | None = None
    locale: Locale | None = None
    time_zone: TimeZone | None = None
    email_verified: VerifiedFlag | None = None
    created_at: CreationTime | None = None
    creates_user: ClassVar[bool] = True
    rejections: ClassVar[tuple[Code, ...]] = (Code.USER_ALREADY_EXISTS, Code.EMAIL_TAKEN)

    def check_times(self, sent_at: datetime) -> None:
        """Check that the account was not created after the command was sent."""
        if self.created_at is not None and self.created_at > sent_at:
            raise InvalidValueError("created_at: must not be after the command was sent")


@dataclass(frozen=True, slots=True)
class UpdateProfile(Command):
    """Change the names, the language or the time zone; a field that is left out stays."""

    first_name: FirstName | None = None
    last_name: LastName | None = None
    locale: Locale | None = None
    time_zone: TimeZone | None = None
    needs_a_field: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class RequestEmailVerification(Command):
    """Send a verification token to the user's e-mail address."""

    token_id: TokenId
    token_hash: MailedTokenHash
    expires_at: ExpiryTime
    rejections: ClassVar[tuple[Code, ...]] = (Code.TOKEN_EXPIRED,)


@dataclass(frozen=True, slots=True)
class VerifyEmail(Command):
    """Verify the user's e-mail address with the token of the verification mail."""

    token_hash: MailedTokenHash
    rejections: ClassVar[tuple[Code, ...]] = (Code.TOKEN_INVALID, Code.TOKEN_EXPIRED)


@dataclass(frozen=True, slots=True)
class RequestEmailChange(Command):
    """Send a verification token to the new e-mail address."""

    new_email: NewEmail
    token_id: TokenId
    token_hash: MailedTokenHash
    expires_at: ExpiryTime
    credential_version: CredentialVersion | None = None
    rejections: ClassVar[tuple[Code, ...]] = (
        Code.CREDENTIAL_STALE,
        Code.TOKEN_EXPIRED,
        Code.EMAIL_TAKEN,
    )


@dataclass(frozen=True, slots=True)
class ConfirmEmailChange(Command):
    """Change the e-mail address, with the token of the mail to the new address."""

    token_hash: MailedTokenHash
    rejections: ClassVar[tuple[Code, ...]] = (
        Code.TOKEN_INVALID,
        Code.TOKEN_EXPIRED,
        Code.EMAIL_TAKEN,
    )


@dataclass(frozen=True, slots=True)
class CancelEmailChange(Command):
    """Cancel a requested change of the e-mail address."""


@dataclass(frozen=True, slots=True)
class ChangePassword(Command):
    """Set a new password, for a user who entered the old one."""

    password_hash: Argon2Hash
    credential_version: CredentialVersion
    rejections: ClassVar[tuple[Code, ...]] = (Code.CREDENTIAL_STALE,)


@dataclass(frozen=True, slots=True)
class UpgradePasswordHash(Command):
    """Replace the hash by a stronger one of the same password; no session ends."""

    password_hash: Argon2Hash
    credential_version: CredentialVersion
    rejections: ClassVar[tuple[Code, ...]] = (Code.CREDENTIAL_STALE,)


@dataclass(frozen=True, slots=True)
class RequestPasswordReset(Command):
    """Send a password reset token; identify the user by id or by e-mail address."""

    token_id: TokenId
    token_hash: MailedTokenHash
    expires_at: ExpiryTime
    email: NamingEmail | None = None
    rejections: ClassVar[tuple[Code, ...]] = (Code.TOKEN_EXPIRED,)


@dataclass(frozen=True, slots=True)
class ResetPassword(Command):
    """Set a new password with the reset token; identify the user by id or by e-mail address."""

    token_hash: MailedTokenHash
    password_hash: Argon2Hash
    email: NamingEmail | None = None
    needs_two_factor: ClassVar[bool] = True
    rejections: ClassVar[tuple[Code, ...]] = (Code.TOKEN_INVALID, Code.TOKEN_EXPIRED)


@dataclass(frozen=True, slots=True)
class StartSession(Command):
    """Start a session after a successful login, and reset the count of login failures.

    If the second factor is enabled, one of `totp_step` and `recovery_code_hash` is required.
    """

    session_id: SessionId
    refresh_family_hash: RefreshFamilyHash
    refresh_token_hash: RefreshTokenHash
    expires_at: Annotated[
        datetime,
        fields.TIME.of(
            "When the session expires, unless it reaches the maximum lifetime before.",
            _EXAMPLE_TIME,
        ),
    ]
    credential_version: CredentialVersion
    methods: LoginMethods
    totp_step: TotpStep | None = None
    recovery_code_hash: (
        Annotated[
            TokenHash,
            fields.TOKEN_HASH.of(
                "SHA-256 of a recovery code, in hexadecimal.", _example_hash(0x40)
            ),
        ]
        | None
    ) = None
    device: DeviceLabel | None = None
    max_age: ClassVar[timedelta | None] = SESSION_COMMAND_AGE
    rejections: ClassVar[tuple[Code, ...]] = (
        Code.USER_BANNED,
        Code.USER_LOCKED,
        Code.USER_DEACTIVATED,
        Code.SESSION_ALREADY_EXISTS,
        Code.SESSION_EXPIRED,
        Code.CREDENTIAL_STALE,
        Code.SECOND_FACTOR_REQUIRED,
        Code.SECOND_FACTOR_REPLAYED,
        Code.CODE_INVALID,
    )


@dataclass(frozen=True, slots=True)
class RotateRefreshToken(Command):
    """Replace the part of a session's refresh token that changes with each exchange.

    The part that was replaced last is accepted again within a short time, so that two tabs of a
    browser, or a client whose answer was lost, both continue. Any other part counts as
    used twice: the session ends.
    """

    session_id: SessionId
    refresh_family_hash: RefreshFamilyHash
    refresh_token_hash: RefreshTokenHash
    next_refresh_token_hash: Annotated[
        TokenHash,
        fields.TOKEN_HASH.of(
            "SHA-256 of the next part of the refresh token, in hexadecimal.", _example_hash(0x33)
        ),
    ]
    expires_at: Annotated[datetime, fields.TIME.of("The session's new expiry time.", _EXAMPLE_TIME)]
    max_age: ClassVar[timedelta | None] = SESSION_COMMAND_AGE
    rejections: ClassVar[tuple[Code, ...]] = (
        Code.SESSION_NOT_FOUND,
        Code.SESSION_EXPIRED,
        Code.REFRESH_TOKEN_REUSED,
        Code.TOKEN_INVALID,
    )


@dataclass(frozen=True, slots=True)
class RevokeSession(Command):
    """End one session."""

    session_id: SessionId


@dataclass(frozen=True, slots=True)
class RevokeOtherSessions(Command):
    """End all sessions of the user except one."""

    session_id: ContinuingSessionId
    rejections: ClassVar[tuple[Code, ...]] = (Code.SESSION_NOT_FOUND,)


@dataclass(frozen=True, slots=True)
class RevokeAllSessions(Command):
    """End all sessions of the user."""


@dataclass(frozen=True, slots=True)
class RecordLoginFailure(Command):
    """Count a failed login; several in a row lock the user."""

    stage: LoginStage | None = None
    max_age: ClassVar[timedelta | None] = SESSION_COMMAND_AGE


@dataclass(frozen=True, slots=True)
class UnlockUser(Command):
    """Unlock the user, and reset the count of login failures."""

    max_age: ClassVar[timedelta | None] = ACCESS_COMMAND_AGE


@dataclass(frozen=True, slots=True)
class EnableTwoFactor(Command):
    """Enable the second factor: an encrypted secret and the hashes of 8 to 16 recovery codes."""

    secret_ciphertext: Annotated[
        str,
        fields.CIPHERTEXT.of(
            "The second factor's secret, encrypted by the edge; printable ASCII.", "AQIDBAUGBwg="
        ),
    ]
    recovery_code_hashes: RecoveryCodes
    credential_version: CredentialVersion | None = None
    needs_two_factor: ClassVar[bool] = True
    max_age: ClassVar[timedelta | None] = ACCESS_COMMAND_AGE
    rejections: ClassVar[tuple[Code, ...]] = (
        Code.CREDENTIAL_STALE,
        Code.TWO_FACTOR_ALREADY_ENABLED,
    )


@dataclass(frozen=True, slots=True)
class DisableTwoFactor(Command):
    """Disable the second factor, and delete its secret and recovery codes."""

    needs_two_factor: ClassVar[bool] = True
    max_age: ClassVar[timedelta | None] = ACCESS_COMMAND_AGE


@dataclass(frozen=True, slots=True)
class UseRecoveryCode(Command):
    """Use one recovery code, which is then no longer valid."""

    code_hash: Annotated[
        TokenHash,
        fields.TOKEN_HASH.of("SHA-256 of the recovery code, in hexadecimal.", _example_hash(0x40)),
    ]
    needs_two_factor: ClassVar[bool] = True
    max_age: ClassVar[timedelta | None] = SESSION_COMMAND_AGE
    rejections: ClassVar[tuple[Code, ...]] = (
        Code.TWO_FACTOR_NOT_ENABLED,
        Code.USER_LOCKED,
        Code.CODE_INVALID,
    )


@dataclass(frozen=True, slots=True)
class RegenerateRecoveryCodes(Command):
    """Replace all recovery codes by new ones."""

    recovery_code_hashes: RecoveryCodes
    credential_version: CredentialVersion | None = None
    needs_two_factor: ClassVar[bool] = True
    max_age: ClassVar[timedelta | None] = ACCESS_COMMAND_AGE
    rejections: ClassVar[tuple[Code, ...]] = (
        Code.CREDENTIAL_STALE,
        Code.TWO_FACTOR_NOT_ENABLED,
    )


@dataclass(frozen=True, slots=True)
class AcceptTerms(Command):
    """Record that the user accepts a version of a document."""

    document: TermsDocument
    version: TermsVersion
    rejections: ClassVar[tuple[Code, ...]] = (Code.TOO_MANY_DOCUMENTS,)


@dataclass(frozen=True, slots=True)
class AssignRole(Command):
    """Assign a role to the user."""

    role: RoleName
    max_age: ClassVar[timedelta | None] = ACCESS_COMMAND_AGE


@dataclass(frozen=True, slots=True)
class RevokeRole(Command):
    """Revoke a role of the user."""

    role: AnyRoleName
    max_age: ClassVar[timedelta | None] = ACCESS_COMMAND_AGE


@dataclass(frozen=True, slots=True)
class BanUser(Command):
    """Ban the user, until a given time or permanently."""

    reason: Reason
    until: EndTime | None = None


@dataclass(frozen=True, slots=True)
class UnbanUser(Command):
    """Remove the user's ban."""

    max_age: ClassVar[timedelta | None] = ACCESS_COMMAND_AGE


@dataclass(frozen=True, slots=True)
class DeactivateUser(Command):
    """Deactivate the account."""

    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class ReactivateUser(Command):
    """Reactivate a deactivated account."""

    max_age: ClassVar[timedelta | None] = ACCESS_COMMAND_AGE


@dataclass(frozen=True, slots=True)
class EraseUser(Command):
    """Erase the user's personal data. A tombstone remains; the e-mail address becomes available."""

    needs_two_factor: ClassVar[bool] = True


COMMANDS: dict[str, type[Command]] = {command.type: command for command in Command.__subclasses__()}
"""Every command by its message type, in the order of the definitions.

`dataclass(slots=True)` defines each class a second time; the second one is in effect."""


@dataclass(frozen=True, slots=True)
class CommandEnvelope:
    """A command with the attributes of its message."""

    command_id: str
    user_id: str | None
    """`None` if the command identifies its user by e-mail address."""
    command: Command
    content_hash: str = field(repr=False)
    """Hash of type, subject and data, to compare commands with the same id in memory. It must not
    be stored: personal data could be guessed from it (see `KeyRing.fingerprint`)."""
    source: str
    sent_at: datetime
    """The earlier of `time` and the time the message was first sent to a queue."""
    expected_version: int | None = None
    expires_at: datetime | None = None
    correlation_id: str | None = None
    actor: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    sent_as: str | None = None
    """The message type of an older version, if `command` was upcast from it."""

    @property
    def type(self) -> str:
        """Return the message type that the producer sent."""
        return self.sent_as or self.command.type

    @property
    def by_email(self) -> EmailAddress | None:
        """Return the e-mail address that identifies the user, or None if an id does."""
        if self.user_id is None and isinstance(self.command, RequestPasswordReset | ResetPassword):
            return self.command.email
        return None
