"""The part of the User aggregate that lets in and shuts out: sessions, locks, second factor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from domain import events as happened
from domain.errors import RejectedError, RejectionCode
from domain.policy import FAILURES_BEFORE_LOCK, lock_duration
from domain.sessions import Session
from domain.state import Ban, Events, TwoFactor, UserState
from domain.tokens import same_hash
from domain.values import TokenHash


class Access(UserState):
    """Sessions, login failures and locks, bans and rest, the second factor."""

    __slots__ = ()

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
        if self.two_factor is None:
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

    # --- bans and rest ---

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
