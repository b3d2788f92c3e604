"""The User aggregate, changed by its own methods only: here its beginning and its end.

Each method that a command asks for checks every rule before it changes anything, raises
`RejectedError` with nothing changed, and gives the events that say what it did: none when all
was so already. The rules in between are in `identity` and `access`, the state is in `state`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from domain import events as happened
from domain.identity import Identity
from domain.policy import MAX_USED_REFRESH_TOKENS
from domain.sessions import Session
from domain.state import Ban, EmailChange, Events, TwoFactor
from domain.tokens import OneTimeToken
from domain.values import EmailAddress, PasswordHash

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


class User(Identity):
    """A user of the business."""

    __slots__ = ()

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
