"""The part of the User aggregate that says who somebody is: names, address, password, roles."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from domain import events as happened
from domain.access import Access
from domain.errors import RejectedError, RejectionCode
from domain.state import EmailChange, Events
from domain.tokens import OneTimeToken, check_token
from domain.values import EmailAddress, PasswordHash, TokenHash


class Identity(Access):
    """Names, e-mail address, password and roles."""

    __slots__ = ()

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
        """Mark the address as verified."""
        if self.email_verified:
            return ()
        check_token(self.email_verification, presented, now)
        return self._verify_address()

    def _verify_address(self) -> Events:
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
        """Set a new password by a mailed token, which lifts a lock and verifies the address.

        The token came back from the present address: a change of the address voids it.
        """
        check_token(self.password_reset, presented, now)
        was_locked = self.is_locked(now)
        self._set_password(password_hash)
        self._end_sessions()
        self._forget_failures()
        events: Events = (happened.PasswordReset(self.credential_version),)
        if not self.email_verified:
            events += self._verify_address()
        return (*events, happened.UserUnlocked()) if was_locked else events

    def _set_password(self, password_hash: PasswordHash) -> None:
        self.password_hash = password_hash.value
        self.credential_version += 1
        self.password_reset = None

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
