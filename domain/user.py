"""The User aggregate: its state, and the methods that are the only way to change it.

Each method that handles a command checks every rule before it changes anything. It raises
`RejectedError` with nothing changed, or returns the events that describe the change. An empty
tuple means that the user was in the requested state already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from domain import events as happened
from domain.errors import RejectedError, RejectionCode
from domain.events import Event, RecordedEvent
from domain.policy import UserPolicy
from domain.sessions import Session
from domain.tokens import OneTimeToken, check_token, same_hash
from domain.values import EmailAddress, PasswordHash, TokenHash

Events = tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class EmailChange:
    """A new address that has not been confirmed yet."""

    new_email: EmailAddress
    token: OneTimeToken


@dataclass(frozen=True, slots=True)
class Ban:
    """The reason for a ban, and its end (`None`: permanent)."""

    reason: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class TwoFactor:
    """The second factor: an encrypted secret and the unused recovery codes."""

    secret_ciphertext: str = field(repr=False)
    recovery_code_hashes: tuple[str, ...] = field(repr=False)
    revision: int = 0
    """How often the stored item was written; 0: not stored yet."""


@dataclass(slots=True)
class User:
    """A user. The docstrings of the fields explain the attributes in docs/table.md."""

    user_id: str
    version: int
    """Number of the user's events"""
    created_at: datetime
    updated_at: datetime
    """Time of the last event"""
    email: EmailAddress | None
    """As it is displayed and mailed to; absent after erasure"""
    first_name: str = field(repr=False)
    """Empty after erasure"""
    last_name: str = field(repr=False)
    """Empty after erasure"""
    email_verified: bool = False
    password_hash: str | None = field(default=None, repr=False)
    """argon2id, PHC string"""
    credential_version: int = 0
    """Incremented with each new password; ChangePassword contains it"""
    roles: tuple[str, ...] = ()
    session_epoch: int = 0
    """Incremented to end all sessions: a session of another epoch has ended"""
    failed_logins: int = 0
    """Consecutive failed logins since the last lock or login"""
    lock_count: int = 0
    """Consecutive locks: each lasts twice as long as the previous one"""
    locked_until: datetime | None = None
    """Locked while this is in the future"""
    ban: Ban | None = field(default=None, repr=False)
    """`reason`, and `until` (S) if it ends"""
    deactivated: bool = False
    deactivation_reason: str | None = field(default=None, repr=False)
    erased: bool = False
    """A tombstone: all personal data was deleted"""
    two_factor_enabled: bool = False
    email_verification: OneTimeToken | None = None
    """`token_hash`, `expires_at` (S)"""
    email_change: EmailChange | None = None
    """`new_email`, and `token` with `token_hash` and `expires_at`"""
    password_reset: OneTimeToken | None = None
    """`token_hash`, `expires_at` (S)"""
    sessions: dict[str, Session] = field(default_factory=dict)
    """By id; only the sessions that the pending commands name are loaded."""
    two_factor: TwoFactor | None = None
    """Loaded only if a pending command needs it."""

    def record(self, events: Sequence[Event], now: datetime) -> tuple[RecordedEvent, ...]:
        """Number the events: each event is one version of the user."""
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
        """Create the user of a person who signed up; `names` are first and last name."""
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
        """Create a user without a password; `names` are first and last name."""
        user = cls(user_id, 0, now, now, email, *names, roles=tuple(dict.fromkeys(roles)))
        return user, (happened.UserCreated(email.value, user.roles),)

    def rename(self, first_name: str | None, last_name: str | None) -> Events:
        """Change the names that are not `None`."""
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
        """Set the token of a verification mail; it replaces an earlier one."""
        if self.email_verified:
            return ()
        self.email_verification = token
        return (happened.EmailVerificationRequested(self._address(), token_id, token.expires_at),)

    def verify_email(self, presented: TokenHash, now: datetime) -> Events:
        """Mark the address as verified."""
        if self.email_verified:
            return ()
        check_token(self.email_verification, presented, now)
        return self._verify_address()

    def request_email_change(
        self,
        new_email: EmailAddress,
        token_id: str,
        token: OneTimeToken,
        owners: Mapping[str, str],
    ) -> Events:
        """Set the token that is mailed to a new address; it replaces an earlier one."""
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
        """Replace the address; tokens that were mailed to the old one become invalid."""
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

    def _verify_address(self) -> Events:
        self.email_verification = None
        self.email_verified = True
        return (happened.EmailVerified(),)

    def _check_free(self, email: EmailAddress, owners: Mapping[str, str]) -> None:
        if owners.get(email.key, self.user_id) != self.user_id:
            raise RejectedError(RejectionCode.EMAIL_TAKEN)

    def _address(self) -> str | None:
        return None if self.email is None else self.email.value

    # --- password ---

    def change_password(self, password_hash: PasswordHash, credential_version: int) -> Events:
        """Set a new password if `credential_version` is that of the current password."""
        if credential_version != self.credential_version:
            raise RejectedError(RejectionCode.CREDENTIAL_STALE)
        self._set_password(password_hash)
        self._end_sessions()
        return (happened.PasswordChanged(self.credential_version),)

    def request_password_reset(self, token_id: str, token: OneTimeToken) -> Events:
        """Set the token of a reset mail; it replaces an earlier one."""
        self.password_reset = token
        return (happened.PasswordResetRequested(self._address(), token_id, token.expires_at),)

    def reset_password(
        self, presented: TokenHash, password_hash: PasswordHash, now: datetime
    ) -> Events:
        """Set a new password by a mailed token, remove a lock and verify the address.

        The token was mailed to the present address: a change of the address invalidates it.
        """
        check_token(self.password_reset, presented, now)
        was_locked = self.is_locked(now)
        self._set_password(password_hash)
        self._end_sessions()
        self._reset_failures()
        events: Events = (happened.PasswordReset(self.credential_version),)
        if not self.email_verified:
            events += self._verify_address()
        return (*events, happened.UserUnlocked()) if was_locked else events

    def _set_password(self, password_hash: PasswordHash) -> None:
        self.password_hash = password_hash.value
        self.credential_version += 1
        self.password_reset = None

    # --- second factor ---

    def enable_two_factor(self, ciphertext: str, codes: Sequence[TokenHash]) -> Events:
        """Require a second factor from now on."""
        if self.two_factor_enabled:
            raise RejectedError(RejectionCode.TWO_FACTOR_ALREADY_ENABLED)
        # A code that is listed twice must not work twice.
        at_rest = tuple(dict.fromkeys(code.stored for code in codes))
        self.two_factor_enabled = True
        self.two_factor = TwoFactor(ciphertext, at_rest)
        return (happened.TwoFactorEnabled(),)

    def disable_two_factor(self) -> Events:
        """Remove the second factor."""
        if not self.two_factor_enabled:
            return ()
        self._remove_two_factor()
        return (happened.TwoFactorDisabled(),)

    def use_recovery_code(self, presented: TokenHash) -> Events:
        """Consume one recovery code."""
        if self.two_factor is None:
            raise RejectedError(RejectionCode.TWO_FACTOR_NOT_ENABLED)
        codes = self.two_factor.recovery_code_hashes
        left = tuple(code for code in codes if not same_hash(code, presented))
        if len(left) == len(codes):
            raise RejectedError(RejectionCode.CODE_INVALID)
        self.two_factor = replace(self.two_factor, recovery_code_hashes=left)
        return (happened.RecoveryCodeUsed(len(left)),)

    def _remove_two_factor(self) -> None:
        self.two_factor_enabled = False
        self.two_factor = None

    # --- sessions, login failures and locks ---

    def start_session(
        self, session_id: str, refresh_token: TokenHash, expires_at: datetime, now: datetime
    ) -> Events:
        """Start a session after a login that the edge has checked."""
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
        self._reset_failures()
        return (happened.SessionStarted(session_id, expires_at),)

    def rotate_refresh_token(
        self,
        session_id: str,
        current: TokenHash,
        following: TokenHash,
        expires_at: datetime,
        now: datetime,
    ) -> Events:
        """Exchange a refresh token for the next one; reuse of an old one ends the session."""
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
        """End one session, unless it has ended already."""
        session = self.sessions.get(session_id)
        if session is None or session.is_over(self.session_epoch, now):
            return ()
        del self.sessions[session_id]
        return (happened.SessionRevoked(session_id),)

    def revoke_all_sessions(self) -> Events:
        """End all sessions."""
        self._end_sessions()
        return (happened.AllSessionsRevoked(self.session_epoch),)

    def is_locked(self, now: datetime) -> bool:
        """Return True if too many login failures lock the user."""
        return self.locked_until is not None and self.locked_until > now

    def record_login_failure(self, now: datetime, policy: UserPolicy) -> Events:
        """Count a wrong password, and lock the user after too many of them."""
        if self.is_locked(now):
            return ()
        self.failed_logins += 1
        failed = happened.LoginFailed(self.failed_logins)
        if self.failed_logins < policy.failures_before_lock:
            return (failed,)
        self.locked_until = now + policy.lock_duration(self.lock_count)
        self.lock_count += 1
        self.failed_logins = 0
        return failed, happened.UserLocked(self.locked_until)

    def unlock(self) -> Events:
        """Remove a lock, and reset the counts of failures and locks."""
        if not (self.failed_logins or self.lock_count or self.locked_until):
            return ()
        self._reset_failures()
        return (happened.UserUnlocked(),)

    def _end_sessions(self) -> None:
        self.session_epoch += 1

    def _reset_failures(self) -> None:
        self.failed_logins = 0
        self.lock_count = 0
        self.locked_until = None

    # --- roles ---

    def assign_role(self, role: str) -> Events:
        """Add a role."""
        if role in self.roles:
            return ()
        self.roles = (*self.roles, role)
        return (happened.RoleAssigned(role),)

    def revoke_role(self, role: str) -> Events:
        """Remove a role."""
        if role not in self.roles:
            return ()
        self.roles = tuple(other for other in self.roles if other != role)
        return (happened.RoleRevoked(role),)

    # --- bans and deletion ---

    def is_banned(self, now: datetime) -> bool:
        """Return True if a ban is in force, that is, has not expired."""
        return self.ban is not None and (self.ban.until is None or self.ban.until > now)

    def impose_ban(self, reason: str, until: datetime | None, now: datetime) -> Events:
        """Ban the user; another end replaces a ban, an end in the past has no effect."""
        if until is not None and until <= now:
            return ()
        if self.is_banned(now) and self.ban is not None and self.ban.until == until:
            return ()
        self.ban = Ban(reason, until)
        self._end_sessions()
        return (happened.UserBanned(until),)

    def lift_ban(self, now: datetime) -> Events:
        """Remove a ban."""
        if not self.is_banned(now):
            return ()
        self.ban = None
        return (happened.UserUnbanned(),)

    def deactivate(self, reason: str | None) -> Events:
        """Deactivate the account."""
        if self.deactivated:
            return ()
        self.deactivated = True
        self.deactivation_reason = reason
        self._end_sessions()
        return (happened.UserDeactivated(),)

    def reactivate(self) -> Events:
        """Reactivate the account."""
        if not self.deactivated:
            return ()
        self.deactivated = False
        self.deactivation_reason = None
        return (happened.UserReactivated(),)

    def erase(self) -> Events:
        """Delete all personal data; id, version and the fact of the erasure remain."""
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
        self._remove_two_factor()
        self._reset_failures()
        self._end_sessions()
        self.erased = True
        return (happened.UserErased(),)
