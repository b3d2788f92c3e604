"""The User aggregate: its state, changed by its own methods only.

Each method that a command asks for checks every rule before it changes anything, raises
`RejectedError` with nothing changed, and gives the events that say what it did: none when all
was so already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from domain import events as happened
from domain.errors import RejectedError, RejectionCode
from domain.events import Event, RecordedEvent
from domain.policy import FAILURES_BEFORE_LOCK, MAX_USED_REFRESH_TOKENS, lock_duration
from domain.sessions import Session
from domain.tokens import OneTimeToken, check_token, same_hash
from domain.values import EmailAddress, PasswordHash, TokenHash

__all__ = [
    "MAX_USED_REFRESH_TOKENS",
    "Ban",
    "EmailChange",
    "Events",
    "OneTimeToken",
    "Session",
    "TwoFactor",
    "User",
]

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
class User:
    """The aggregate. `version` counts its events, from 1."""

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

    # --- registration and profile ---

    @classmethod
    def register(
        cls,
        user_id: str,
        email: EmailAddress,
        names: tuple[str, str],
        password_hash: PasswordHash,
        now: datetime,
    ) -> tuple[User, Events]:
        """Make the user of a person who signed up; `names` are first and last."""
        user = cls(user_id, 0, now, now, email, *names)
        user._set_password(password_hash)
        return user, (happened.UserRegistered(email.value),)

    @classmethod
    def create(
        cls,
        user_id: str,
        email: EmailAddress,
        names: tuple[str, str],
        roles: Sequence[str],
        now: datetime,
    ) -> tuple[User, Events]:
        """Make a user without a password; `names` are first and last."""
        user = cls(user_id, 0, now, now, email, *names, roles=tuple(dict.fromkeys(roles)))
        return user, (happened.UserCreated(email.value, user.roles),)

    def rename(self, first_name: str | None, last_name: str | None) -> Events:
        """Take over the names that are given."""
        changed: list[str] = []
        if first_name is not None and first_name != self.first_name:
            self.first_name = first_name
            changed.append("first_name")
        if last_name is not None and last_name != self.last_name:
            self.last_name = last_name
            changed.append("last_name")
        return (happened.ProfileUpdated(tuple(changed)),) if changed else ()

    # --- e-mail ---

    def request_email_verification(self, token_id: str, token: OneTimeToken) -> Events:
        """Await the token of a verification mail, in place of an earlier one."""
        if self.email_verified:
            return ()
        self.email_verification = token
        return (happened.EmailVerificationRequested(self._address(), token_id, token.expires_at),)

    def verify_email(self, presented: TokenHash, now: datetime) -> Events:
        """Believe that the address is the user's."""
        if self.email_verified:
            return ()
        check_token(self.email_verification, presented, now)
        self.email_verification = None
        self.email_verified = True
        return (happened.EmailVerified(),)

    def request_email_change(
        self,
        new_email: EmailAddress,
        token_id: str,
        token: OneTimeToken,
        owners: Mapping[str, str],
    ) -> Events:
        """Await the token that was mailed to a new address, in place of an earlier one."""
        if new_email == self.email:
            return ()
        self._check_free(new_email, owners)
        self.email_change = EmailChange(new_email, token)
        return (
            happened.EmailChangeRequested(
                self._address(), new_email.value, token_id, token.expires_at
            ),
        )

    def confirm_email_change(
        self, presented: TokenHash, owners: Mapping[str, str], now: datetime
    ) -> Events:
        """Take over the new address; what was mailed to the old one is void."""
        change = self.email_change
        if change is None:
            raise RejectedError(RejectionCode.TOKEN_INVALID)
        check_token(change.token, presented, now)
        self._check_free(change.new_email, owners)
        old = self._address()
        self.email = change.new_email
        self.email_verified = True
        self.email_change = None
        self.email_verification = None
        self.password_reset = None
        return (happened.EmailChanged(old, change.new_email.value),)

    def _check_free(self, email: EmailAddress, owners: Mapping[str, str]) -> None:
        if owners.get(email.key, self.user_id) != self.user_id:
            raise RejectedError(RejectionCode.EMAIL_TAKEN)

    def _address(self) -> str | None:
        return None if self.email is None else self.email.value

    # --- password ---

    def change_password(self, password_hash: PasswordHash, credential_version: int) -> Events:
        """Set a new password, decided on knowing the one of `credential_version`."""
        if credential_version != self.credential_version:
            raise RejectedError(RejectionCode.CREDENTIAL_STALE)
        self._set_password(password_hash)
        self._end_sessions()
        return (happened.PasswordChanged(self.credential_version),)

    def request_password_reset(self, token_id: str, token: OneTimeToken) -> Events:
        """Await the token of a reset mail, in place of an earlier one."""
        self.password_reset = token
        return (happened.PasswordResetRequested(self._address(), token_id, token.expires_at),)

    def reset_password(
        self, presented: TokenHash, password_hash: PasswordHash, now: datetime
    ) -> Events:
        """Set a new password by a mailed token, which also lifts a lock."""
        check_token(self.password_reset, presented, now)
        was_locked = self.is_locked(now)
        self._set_password(password_hash)
        self._end_sessions()
        self._forget_failures()
        reset = happened.PasswordReset(self.credential_version)
        return (reset, happened.UserUnlocked()) if was_locked else (reset,)

    def _set_password(self, password_hash: PasswordHash) -> None:
        self.password_hash = password_hash.value
        self.credential_version += 1
        self.password_reset = None

    # --- sessions ---

    def start_session(
        self, session_id: str, refresh_token: TokenHash, expires_at: datetime, now: datetime
    ) -> Events:
        """Begin a session after a login that the edge has checked."""
        if self.is_banned(now):
            raise RejectedError(RejectionCode.USER_BANNED)
        if self.is_locked(now):
            raise RejectedError(RejectionCode.USER_LOCKED)
        if self.deactivated:
            raise RejectedError(RejectionCode.USER_DEACTIVATED)
        if session_id in self.sessions:
            raise RejectedError(RejectionCode.SESSION_ALREADY_EXISTS)
        self.sessions[session_id] = Session(
            session_id, refresh_token.stored, (), self.session_epoch, expires_at
        )
        self._forget_failures()
        return (happened.SessionStarted(session_id, expires_at),)

    def rotate_refresh_token(
        self,
        session_id: str,
        current: TokenHash,
        following: TokenHash,
        expires_at: datetime,
        now: datetime,
    ) -> Events:
        """Exchange a refresh token for its next one; a used one ends the session."""
        session = self.sessions.get(session_id)
        if session is None:
            raise RejectedError(RejectionCode.SESSION_NOT_FOUND)
        if session.is_over(self.session_epoch, now):
            raise RejectedError(RejectionCode.SESSION_EXPIRED)
        if session.has_used(current):
            del self.sessions[session_id]
            return (happened.RefreshTokenReuseDetected(session_id),)
        self.sessions[session_id] = session.rotated(current, following, expires_at)
        return (happened.RefreshTokenRotated(session_id, expires_at),)

    def revoke_session(self, session_id: str, now: datetime) -> Events:
        """End one session, unless it is over."""
        session = self.sessions.get(session_id)
        if session is None or session.is_over(self.session_epoch, now):
            return ()
        del self.sessions[session_id]
        return (happened.SessionRevoked(session_id),)

    def revoke_all_sessions(self) -> Events:
        """End every session, also those that are not loaded."""
        self._end_sessions()
        return (happened.AllSessionsRevoked(self.session_epoch),)

    def _end_sessions(self) -> None:
        self.session_epoch += 1

    # --- locks ---

    def is_locked(self, now: datetime) -> bool:
        """Tell whether too many failures keep the user out."""
        return self.locked_until is not None and self.locked_until > now

    def record_login_failure(self, now: datetime) -> Events:
        """Count a wrong password; enough of them lock the user."""
        if self.is_locked(now):
            return ()
        self.failed_logins += 1
        failed = happened.LoginFailed(self.failed_logins)
        if self.failed_logins < FAILURES_BEFORE_LOCK:
            return (failed,)
        self.locked_until = now + lock_duration(self.lock_count)
        self.lock_count += 1
        self.failed_logins = 0
        return failed, happened.UserLocked(self.locked_until)

    def unlock(self) -> Events:
        """Lift a lock and forget the failures and the locks before."""
        if not (self.failed_logins or self.lock_count or self.locked_until):
            return ()
        self._forget_failures()
        return (happened.UserUnlocked(),)

    def _forget_failures(self) -> None:
        self.failed_logins = 0
        self.lock_count = 0
        self.locked_until = None

    # --- second factor ---

    def enable_two_factor(self, ciphertext: str, codes: Sequence[TokenHash]) -> Events:
        """Ask for a second factor from now on."""
        if self.two_factor_enabled:
            raise RejectedError(RejectionCode.TWO_FACTOR_ALREADY_ENABLED)
        # a code that is listed twice must not work twice
        at_rest = tuple(dict.fromkeys(code.stored for code in codes))
        self.two_factor_enabled = True
        self.two_factor = TwoFactor(ciphertext, at_rest)
        return (happened.TwoFactorEnabled(),)

    def disable_two_factor(self) -> Events:
        """Forget the second factor."""
        if not self.two_factor_enabled:
            return ()
        self._drop_two_factor()
        return (happened.TwoFactorDisabled(),)

    def use_recovery_code(self, presented: TokenHash) -> Events:
        """Spend one recovery code."""
        if not self.two_factor_enabled or self.two_factor is None:
            raise RejectedError(RejectionCode.TWO_FACTOR_NOT_ENABLED)
        codes = self.two_factor.recovery_code_hashes
        left = tuple(code for code in codes if not same_hash(code, presented))
        if len(left) == len(codes):
            raise RejectedError(RejectionCode.CODE_INVALID)
        self.two_factor = replace(self.two_factor, recovery_code_hashes=left)
        return (happened.RecoveryCodeUsed(len(left)),)

    def _drop_two_factor(self) -> None:
        self.two_factor_enabled = False
        self.two_factor = None

    # --- roles ---

    def assign_role(self, role: str) -> Events:
        """Give a role."""
        if role in self.roles:
            return ()
        self.roles = (*self.roles, role)
        return (happened.RoleAssigned(role),)

    def revoke_role(self, role: str) -> Events:
        """Take a role."""
        if role not in self.roles:
            return ()
        self.roles = tuple(other for other in self.roles if other != role)
        return (happened.RoleRevoked(role),)

    # --- status and privacy ---

    def is_banned(self, now: datetime) -> bool:
        """Tell whether a ban is in force; one whose end has passed is none."""
        return self.ban is not None and (self.ban.until is None or self.ban.until > now)

    def impose_ban(self, reason: str, until: datetime | None, now: datetime) -> Events:
        """Shut the user out; another end replaces a ban, one that has passed does nothing."""
        if until is not None and until <= now:
            return ()
        if self.is_banned(now) and self.ban is not None and self.ban.until == until:
            return ()
        self.ban = Ban(reason, until)
        self._end_sessions()
        return (happened.UserBanned(until),)

    def lift_ban(self, now: datetime) -> Events:
        """Let the user in again."""
        if not self.is_banned(now):
            return ()
        self.ban = None
        return (happened.UserUnbanned(),)

    def deactivate(self, reason: str | None) -> Events:
        """Put the account to rest."""
        if self.deactivated:
            return ()
        self.deactivated = True
        self.deactivation_reason = reason
        self._end_sessions()
        return (happened.UserDeactivated(),)

    def reactivate(self) -> Events:
        """Wake the account."""
        if not self.deactivated:
            return ()
        self.deactivated = False
        self.deactivation_reason = None
        return (happened.UserReactivated(),)

    def erase(self) -> Events:
        """Forget the person; what stays says only that there was one."""
        self.email = None
        self.first_name = self.last_name = ""
        self.email_verified = False
        self.password_hash = None
        self.roles = ()
        self.ban = None
        self.deactivated = False
        self.deactivation_reason = None
        self.email_verification = self.password_reset = None
        self.email_change = None
        self.sessions.clear()
        self._drop_two_factor()
        self._forget_failures()
        self._end_sessions()
        self.erased = True
        return (happened.UserErased(),)
