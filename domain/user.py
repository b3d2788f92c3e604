"""The User aggregate: its state, and the methods that are the only way to change it.

Each method that handles a command checks every rule before it changes anything. It raises
`RejectedError` with nothing changed, or returns the events that describe the change. An empty
tuple means that the user was in the requested state already. In two cases a rejection changes
the user; the error then has the events: a used refresh token and a wrong recovery code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from domain import events as happened
from domain.errors import RejectedError, RejectionCode
from domain.events import Event, RecordedEvent
from domain.policy import (
    MAX_SESSIONS,
    MAX_TERMS_DOCUMENTS,
    MAX_TOTP_STEPS_AHEAD,
    TOTP_PERIOD,
    UserPolicy,
)
from domain.sessions import RefreshToken, Session
from domain.tokens import OneTimeToken, check_token, same_hash
from domain.values import EmailAddress, PasswordHash, TokenHash

Events = tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class EmailChange:
    """A new address that has not been confirmed yet."""

    new_email: EmailAddress
    token: OneTimeToken


@dataclass(frozen=True, slots=True)
class AcceptedTerms:
    """The version of a document that the user accepted last."""

    version: str
    accepted_at: datetime


@dataclass(frozen=True, slots=True)
class Ban:
    """The reason for a ban, and its end (`None`: permanent)."""

    reason: str
    """Empty after an erasure."""
    until: datetime | None
    address_hash: str | None = field(default=None, kw_only=True)
    """Keyed hash of the address of an erased user: the ban applies to the address from then on."""


@dataclass(frozen=True, slots=True)
class SecondFactor:
    """The second factor of a login: a step of a one-time password, or a recovery code."""

    totp_step: int | None = None
    recovery_code: TokenHash | None = None


@dataclass(frozen=True, slots=True)
class TwoFactor:
    """The second factor: an encrypted secret and the unused recovery codes."""

    secret_ciphertext: str = field(repr=False)
    recovery_code_hashes: tuple[str, ...] = field(repr=False)
    revision: int = 0
    """How often the stored item was written; 0: not stored yet."""


def _at_rest(codes: Sequence[TokenHash]) -> tuple[str, ...]:
    """Return the stored forms; a code that is listed twice must not work twice."""
    return tuple(dict.fromkeys(code.stored for code in codes))


@dataclass(slots=True)
class User:
    """A user. The docstrings of the fields explain the attributes in docs/reference/table.md."""

    user_id: str
    version: int
    """Number of the user's events"""
    created_at: datetime
    """Time of the first event; of an imported user, when the other system created the account"""
    updated_at: datetime
    """Time of the last event"""
    email: EmailAddress | None
    """As it is displayed and mailed to; absent after erasure"""
    first_name: str = field(repr=False)
    """Empty after erasure"""
    last_name: str = field(repr=False)
    """Optional; empty if it was not given, and after an erasure"""
    email_verified: bool = False
    password_hash: str | None = field(default=None, repr=False)
    """argon2id, PHC string; of an imported user also bcrypt, scrypt or PBKDF2"""
    password_hash_legacy: bool = False
    """`password_hash` is not argon2id: replace it at the next login with UpgradePasswordHash"""
    credential_version: int = 0
    """Incremented whenever access ends: with each new password, RevokeAllSessions, a ban, a
    deactivation and an erasure. A login that was checked against an earlier one is stale"""
    roles: tuple[str, ...] = ()
    live_sessions: dict[str, datetime] = field(default_factory=dict)
    """End of each session by its id, oldest first. A session that is not listed has ended.
    Stored as `id:end`, separated by spaces, with the end in epoch seconds"""
    locale: str | None = None
    """BCP 47 language tag"""
    time_zone: str | None = None
    """IANA time zone"""
    terms: dict[str, AcceptedTerms] = field(default_factory=dict)
    """By document: the accepted `version`, and `accepted_at` (S)"""
    failed_logins: int = 0
    """Consecutive failed logins since the last lock or login"""
    lock_count: int = 0
    """Consecutive locks: each lasts twice as long as the previous one"""
    last_failure_at: datetime | None = None
    """Time of the last failed login; a day later the failures and locks no longer count"""
    locked_until: datetime | None = None
    """Locked while this is in the future"""
    ban: Ban | None = field(default=None, repr=False)
    """`reason`, and `until` (S) if it ends; of an erased user, `address_hash` (S) and an empty
    `reason`"""
    deactivated: bool = False
    deactivation_reason: str | None = field(default=None, repr=False)
    erased: bool = False
    """A tombstone: all personal data was deleted"""
    two_factor_enabled: bool = False
    last_totp_step: int = 0
    """The last step of a one-time password that was used; it and earlier ones are not accepted"""
    two_factor_unverified: bool = False
    """The second factor was enabled before the address was verified: a reset removes it"""
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
        change = self.email_change
        if change is not None and change.token.expires_at <= now:
            self.email_change = None  # its owner may never have wanted an account
        first = self.version + 1
        self.version += len(events)
        self.updated_at = now
        return tuple(RecordedEvent.of(event, number) for number, event in enumerate(events, first))

    # --- registration and profile ---

    @classmethod
    def create(
        cls,
        user_id: str,
        email: EmailAddress,
        password_hash: PasswordHash | None,
        now: datetime,
        **profile: str | None,
    ) -> User:
        """Create a user; `profile` are the fields of `update_profile`."""
        user = cls(user_id, 0, now, now, email, first_name="", last_name="")
        user.update_profile(**profile)
        if password_hash is not None:
            user._set_hash(password_hash)
            user.credential_version = 1
        return user

    def initialize(
        self, roles: Sequence[str], *, email_verified: bool, created_at: datetime | None
    ) -> None:
        """Set what an administrator or another system states about a new user.

        `created_at` is when the other system created the account; `None` keeps the present time.
        """
        self.roles = tuple(dict.fromkeys(roles))
        self.email_verified = email_verified
        self.created_at = created_at or self.created_at

    def update_profile(self, **fields: str | None) -> Events:
        """Change the names, the locale and the time zone that are not `None`."""
        changed = [
            name
            for name, value in fields.items()
            if value is not None and value != getattr(self, name)
        ]
        for name in changed:
            setattr(self, name, fields[name])
        return (happened.ProfileUpdated(tuple(changed)),) if changed else ()

    def accept_terms(self, document: str, version: str, now: datetime) -> Events:
        """Store the version of a document that the user accepts."""
        accepted = self.terms.get(document)
        if accepted is not None and accepted.version == version:
            return ()
        if accepted is None and len(self.terms) >= MAX_TERMS_DOCUMENTS:
            raise RejectedError(RejectionCode.TOO_MANY_DOCUMENTS)
        self.terms = {**self.terms, document: AcceptedTerms(version, now)}
        return (happened.TermsAccepted(document, version),)

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
        self._invalidate_tokens()
        return (happened.EmailChanged(old, change.new_email.value),)

    def cancel_email_change(self) -> Events:
        """Remove a requested change of the address, and its token."""
        if self.email_change is None:
            return ()
        self.email_change = None
        return (happened.EmailChangeCancelled(),)

    def _invalidate_tokens(self) -> None:
        """Remove every mailed token and the pending change of the address.

        A token is valid only for the address and the password for which it was requested.
        Whoever requested it may have had access to the account; that access ends here.
        """
        self.email_verification = self.password_reset = None
        self.email_change = None

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
        self.check_credential(credential_version)
        self._set_hash(password_hash)
        self._end_access()
        return (happened.PasswordChanged(self.credential_version),)

    def upgrade_password_hash(self, password_hash: PasswordHash, credential_version: int) -> Events:
        """Replace the hash by another one of the same password, which must exist."""
        self.check_credential(credential_version)
        if self.password_hash is None:
            raise RejectedError(RejectionCode.CREDENTIAL_STALE)
        if self.password_hash == password_hash.value:
            return ()
        self._set_hash(password_hash)
        return (happened.PasswordHashUpgraded(self.credential_version),)

    def request_password_reset(self, token_id: str, token: OneTimeToken) -> Events:
        """Set the token of a reset mail; it replaces an earlier one."""
        self.password_reset = token
        return (happened.PasswordResetRequested(self._address(), token_id, token.expires_at),)

    def reset_password(
        self, presented: TokenHash, password_hash: PasswordHash, now: datetime
    ) -> Events:
        """Set a new password by a mailed token, remove a lock and verify the address.

        The token was mailed to the present address: a change of the address invalidates it. A
        second factor that was enabled while the address was not verified may belong to somebody
        who registered with a foreign address, so it is removed.
        """
        check_token(self.password_reset, presented, now)
        was_locked = self.is_locked(now)
        self._set_hash(password_hash)
        self._end_access()
        self._reset_failures()
        events: Events = (happened.PasswordReset(self.credential_version),)
        if not self.email_verified:
            events += self._verify_address()
        if self.two_factor_unverified:
            events += self.disable_two_factor()
        return (*events, happened.UserUnlocked()) if was_locked else events

    def check_credential(self, credential_version: int | None) -> None:
        """Check that access has not ended since a credential version was read; `None`: not read.

        Raises:
            RejectedError: CredentialStale.
        """
        if credential_version not in (None, self.credential_version):
            raise RejectedError(RejectionCode.CREDENTIAL_STALE)

    def _set_hash(self, password_hash: PasswordHash) -> None:
        self.password_hash = password_hash.value
        self.password_hash_legacy = password_hash.legacy

    # --- second factor ---

    def enable_two_factor(self, ciphertext: str, codes: Sequence[TokenHash]) -> Events:
        """Require a second factor from now on."""
        if self.two_factor_enabled:
            raise RejectedError(RejectionCode.TWO_FACTOR_ALREADY_ENABLED)
        self.two_factor_enabled = True
        self.two_factor_unverified = not self.email_verified
        self.two_factor = TwoFactor(ciphertext, _at_rest(codes))
        return (happened.TwoFactorEnabled(),)

    def disable_two_factor(self) -> Events:
        """Remove the second factor."""
        if not self.two_factor_enabled:
            return ()
        self._remove_two_factor()
        return (happened.TwoFactorDisabled(),)

    def use_recovery_code(self, presented: TokenHash, now: datetime, policy: UserPolicy) -> Events:
        """Consume one recovery code; a wrong one counts as a login failure."""
        if self.two_factor is None:
            raise RejectedError(RejectionCode.TWO_FACTOR_NOT_ENABLED)
        if self.is_locked(now):
            raise RejectedError(RejectionCode.USER_LOCKED)
        codes = self.two_factor.recovery_code_hashes
        left = tuple(code for code in codes if not same_hash(code, presented))
        if len(left) == len(codes):
            failed = self.record_login_failure("second_factor", now, policy)
            raise RejectedError(RejectionCode.CODE_INVALID, failed)
        self.two_factor = replace(self.two_factor, recovery_code_hashes=left)
        return (happened.RecoveryCodeUsed(len(left)),)

    def _check_second_factor(
        self, factor: SecondFactor, now: datetime, policy: UserPolicy
    ) -> Events:
        """Consume the second factor of a login, if one is required."""
        if not self.two_factor_enabled:
            return ()
        if factor.recovery_code is not None:
            return self.use_recovery_code(factor.recovery_code, now, policy)
        if factor.totp_step is None:
            raise RejectedError(RejectionCode.SECOND_FACTOR_REQUIRED)
        if factor.totp_step <= self.last_totp_step:
            raise RejectedError(RejectionCode.SECOND_FACTOR_REPLAYED)
        # A step of a distant future would make every later one a replay.
        if factor.totp_step > now.timestamp() // TOTP_PERIOD.total_seconds() + MAX_TOTP_STEPS_AHEAD:
            raise RejectedError(RejectionCode.CODE_INVALID)
        self.last_totp_step = factor.totp_step
        return ()

    def regenerate_recovery_codes(self, codes: Sequence[TokenHash]) -> Events:
        """Replace all recovery codes."""
        if self.two_factor is None:
            raise RejectedError(RejectionCode.TWO_FACTOR_NOT_ENABLED)
        self.two_factor = replace(self.two_factor, recovery_code_hashes=_at_rest(codes))
        count = len(self.two_factor.recovery_code_hashes)
        return (happened.RecoveryCodesRegenerated(count),)

    def _remove_two_factor(self) -> None:
        self.two_factor_enabled = self.two_factor_unverified = False
        self.two_factor = None

    # --- sessions, login failures and locks ---

    def start_session(
        self,
        session: Session,
        credential_version: int,
        factor: SecondFactor,
        now: datetime,
        policy: UserPolicy,
    ) -> Events:
        """Start a session after a login that the edge has checked.

        The password may have changed since the edge read it, so the command contains the credential
        version that was read.
        """
        self._check_access(now)
        if session.session_id in self.sessions or session.session_id in self.live_sessions:
            raise RejectedError(RejectionCode.SESSION_ALREADY_EXISTS)
        if session.expires_at <= now:
            raise RejectedError(RejectionCode.SESSION_EXPIRED)
        self.check_credential(credential_version)
        events = self._check_second_factor(factor, now, policy)
        events += self._make_room(now)
        expires_at = policy.session_end(now, now, session.expires_at)
        self._keep_session(
            replace(session, started_at=now, last_used_at=now, expires_at=expires_at)
        )
        self._reset_failures()
        return (*events, happened.SessionStarted(session.session_id, expires_at))

    def _make_room(self, now: datetime) -> Events:
        """End the oldest sessions so that another one can start; forget the expired ones."""
        self.live_sessions = {key: end for key, end in self.live_sessions.items() if end > now}
        surplus = tuple(self.live_sessions)[: max(len(self.live_sessions) - MAX_SESSIONS + 1, 0)]
        self._end_sessions(surplus)
        return tuple(happened.SessionRevoked(session_id) for session_id in surplus)

    def has_session(self, session_id: str, now: datetime) -> bool:
        """Return True if a session has neither ended nor expired."""
        expires_at = self.live_sessions.get(session_id)
        return expires_at is not None and expires_at > now

    def _keep_session(self, session: Session) -> None:
        self.sessions[session.session_id] = session
        self.live_sessions = {**self.live_sessions, session.session_id: session.expires_at}

    def _drop_session(self, session_id: str) -> None:
        """End the session that the command names, and delete it."""
        self.sessions.pop(session_id, None)
        self._end_sessions((session_id,))

    def _end_sessions(self, ended: Collection[str]) -> None:
        """End sessions, which stay stored until they expire.

        Which sessions are loaded depends on the other commands of the batch, so nothing of them is
        deleted here: their ids stay in use in every batch.
        """
        left = {key: end for key, end in self.live_sessions.items() if key not in ended}
        self.live_sessions = left

    def _check_access(self, now: datetime) -> None:
        if self.is_banned(now):
            raise RejectedError(RejectionCode.USER_BANNED)
        if self.is_locked(now):
            raise RejectedError(RejectionCode.USER_LOCKED)
        if self.deactivated:
            raise RejectedError(RejectionCode.USER_DEACTIVATED)

    def rotate_refresh_token(
        self,
        session_id: str,
        token: RefreshToken,
        following: TokenHash,
        expires_at: datetime,
        *,
        now: datetime,
        policy: UserPolicy,
    ) -> Events:
        """Exchange a refresh token for the next one; a second use ends the session.

        The part that was replaced last is accepted for a short time: see `Session.accepts`.
        """
        session = self.sessions.get(session_id) if session_id in self.live_sessions else None
        if session is None or not session.is_of_family(token):
            raise RejectedError(RejectionCode.SESSION_NOT_FOUND)
        if not self.has_session(session_id, now):
            raise RejectedError(RejectionCode.SESSION_EXPIRED)
        if not session.accepts(token.part, now, policy.refresh_leeway):
            self._drop_session(session_id)
            reused = happened.RefreshTokenReuseDetected(session_id)
            raise RejectedError(RejectionCode.REFRESH_TOKEN_REUSED, (reused,))
        if expires_at <= now:
            raise RejectedError(RejectionCode.SESSION_EXPIRED)
        expires_at = policy.session_end(session.started_at, now, expires_at)
        rotated = session.rotated(token.part, following, expires_at, now)
        if rotated is None:
            return ()
        self._keep_session(rotated)
        return (happened.RefreshTokenRotated(session_id, expires_at),)

    def revoke_session(self, session_id: str, now: datetime) -> Events:
        """End one session, unless it has ended already."""
        if not self.has_session(session_id, now):
            return ()
        self._drop_session(session_id)
        return (happened.SessionRevoked(session_id),)

    def revoke_other_sessions(self, session_id: str, now: datetime) -> Events:
        """End all sessions except one, which must not have ended."""
        if not self.has_session(session_id, now):
            raise RejectedError(RejectionCode.SESSION_NOT_FOUND)
        others = tuple(key for key in self.live_sessions if key != session_id)
        ended = sum(self.has_session(key, now) for key in others)
        self._end_sessions(others)
        return (happened.OtherSessionsRevoked(session_id, ended),) if ended else ()

    def revoke_all_sessions(self) -> Events:
        """End all sessions."""
        self._end_access()
        return (happened.AllSessionsRevoked(self.credential_version),)

    def is_locked(self, now: datetime) -> bool:
        """Return True if too many login failures lock the user."""
        return self.locked_until is not None and self.locked_until > now

    def record_login_failure(self, stage: str, now: datetime, policy: UserPolicy) -> Events:
        """Count a failed login, and lock the user after too many of them."""
        if self.is_locked(now):
            return ()
        if self.last_failure_at and now - self.last_failure_at >= policy.failures_lifetime:
            self._reset_failures()
        self.failed_logins += 1
        self.last_failure_at = now
        failed = happened.LoginFailed(self.failed_logins, stage)
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

    def _end_access(self) -> None:
        """End every session, and invalidate every mailed token and every login under way."""
        self.credential_version += 1
        self.live_sessions = {}
        self._invalidate_tokens()

    def _reset_failures(self) -> None:
        self.failed_logins = 0
        self.lock_count = 0
        self.locked_until = self.last_failure_at = None

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

    def is_banned_beyond(self, time: datetime, now: datetime) -> bool:
        """Return True if a ban is in force that ends later than a time."""
        if self.ban is None or not self.is_banned(now):
            return False
        return self.ban.until is None or self.ban.until > time

    def impose_ban(self, reason: str, until: datetime | None, now: datetime) -> Events:
        """Ban the user; another end replaces a ban, an end in the past has no effect."""
        if until is not None and until <= now:
            return ()
        if self.is_banned(now) and self.ban is not None and self.ban.until == until:
            return ()
        self.ban = Ban(reason, until)
        self._end_access()
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
        self._end_access()
        return (happened.UserDeactivated(),)

    def reactivate(self) -> Events:
        """Reactivate the account."""
        if not self.deactivated:
            return ()
        self.deactivated = False
        self.deactivation_reason = None
        return (happened.UserReactivated(),)

    def erase(self, now: datetime, hash_address: Callable[[str], str]) -> Events:
        """Delete all personal data; id, version and the fact of the erasure remain.

        A ban in force remains too, without its reason: it applies to the keyed hash of the address,
        so that the same person cannot register again.
        """
        if self.ban is not None and self.is_banned(now) and self.email is not None:
            self.ban = Ban("", self.ban.until, address_hash=hash_address(self.email.key))
        else:
            self.ban = None
        self.email = None
        self.first_name = self.last_name = ""
        self.email_verified = False
        self.password_hash = None
        self.roles = ()
        self.deactivated = False
        self.deactivation_reason = None
        self.password_hash_legacy = False
        self.last_totp_step = 0
        self.locale = self.time_zone = None
        self.terms = {}
        self.sessions.clear()
        self._remove_two_factor()
        self._reset_failures()
        self._end_access()
        self.erased = True
        return (happened.UserErased(),)
