"""Combine one user's commands of a round into the change to write."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from application.pending_command import PendingCommand
from application.repository import BannedAddress, Outcome, UserChange
from domain.sessions import Session
from domain.user import Ban, TwoFactor, User
from domain.values import EmailAddress


@dataclass(slots=True)
class UserChangeBuilder:
    """The combined result of one user's commands of a round."""

    user_id: str | None
    user: User | None
    commands: list[PendingCommand] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    changed: bool = False
    holds: bool = False
    """Whether the user was erased while banned, even if a later command has ended the ban."""
    read_version: int = 0
    read_email: EmailAddress | None = None
    read_sessions: dict[str, Session] = field(default_factory=dict)
    read_two_factor: TwoFactor | None = None
    read_ban: Ban | None = None

    @classmethod
    def of(cls, user_id: str | None, user: User | None) -> UserChangeBuilder:
        """Start from the user as it was read."""
        if user is None:
            return cls(user_id, None)
        return cls(
            user_id,
            user,
            read_version=user.version,
            read_email=user.email,
            read_sessions=dict(user.sessions),
            read_two_factor=user.two_factor,
            read_ban=user.ban,
        )

    def record(self, user: User | None, *, changed: bool) -> None:
        """Record the result of a decision."""
        self.user = user
        self.changed |= changed
        self.holds |= user is not None and _address_hash(user.ban) is not None

    def owns(self, address: EmailAddress) -> bool:
        """Return True if the address belongs to the user after the commands so far."""
        email = self.user.email if self.user else None
        return email is not None and email.key == address.key

    def change(self) -> UserChange:
        """Return what has to be written, by comparing the present state with what was read."""
        outcomes = tuple(self.outcomes)
        if not self.changed or self.user is None:
            return UserChange(self.user_id, outcomes, self.read_version)
        claimed, released = self._addresses(self.user)
        hash_now, hash_was = _address_hash(self.user.ban), _address_hash(self.read_ban)
        banned = self.user.ban if hash_now != hash_was else None
        two_factor, was = self.user.two_factor, self.read_two_factor
        return UserChange(
            self.user_id,
            outcomes,
            self.read_version,
            self.user,
            saved_sessions=tuple(self._saved_sessions(self.user)),
            removed_sessions=tuple(
                session
                for key, session in self.read_sessions.items()
                if key not in self.user.sessions
            ),
            saved_two_factor=_at_revision(two_factor, was) if two_factor is not was else None,
            removed_two_factor=was if two_factor is None else None,
            claimed=claimed,
            released=None if self.holds else released,
            held=released if self.holds else None,
            banned=(
                BannedAddress(hash_now, self.user.user_id, banned.until)
                if hash_now and banned
                else None
            ),
            unbanned=hash_was if hash_now is None else None,
            scrub=self.user.erased,
        )

    def _addresses(self, user: User) -> tuple[EmailAddress | None, EmailAddress | None]:
        old, new = self.read_email, user.email
        if (old and old.key) == (new and new.key):
            return None, None
        return new, old

    def _saved_sessions(self, user: User) -> Iterable[Session]:
        for key, session in user.sessions.items():
            was = self.read_sessions.get(key)
            if session is not was:
                yield replace(session, revision=was.revision if was else 0)


def _address_hash(ban: Ban | None) -> str | None:
    return None if ban is None else ban.address_hash


def _at_revision(new: TwoFactor | None, was: TwoFactor | None) -> TwoFactor | None:
    return replace(new, revision=was.revision if was else 0) if new else None
