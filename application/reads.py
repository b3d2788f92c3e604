"""Return what must be read before a command can be decided, and which addresses it touches."""

from __future__ import annotations

from dataclasses import dataclass

from domain.commands import (
    CommandEnvelope,
    ConfirmEmailChange,
    CreateUser,
    DisableTwoFactor,
    EnableTwoFactor,
    EraseUser,
    RegisterUser,
    RequestEmailChange,
    RevokeSession,
    RotateRefreshToken,
    StartSession,
    UseRecoveryCode,
)
from domain.user import User

_NAMES_A_SESSION = StartSession | RotateRefreshToken | RevokeSession
_NEEDS_TWO_FACTOR = EnableTwoFactor | DisableTwoFactor | UseRecoveryCode | EraseUser


@dataclass(frozen=True, slots=True)
class Reads:
    """Items that one command reads, besides its user and its outcome."""

    session_id: str | None = None
    two_factor: bool = False
    address: str | None = None
    """The key of the address that the command names."""


def reads_of(envelope: CommandEnvelope) -> Reads:
    """Return what a command reads, from its message alone."""
    command = envelope.command
    if isinstance(command, _NAMES_A_SESSION):
        return Reads(session_id=command.session_id)
    if isinstance(command, _NEEDS_TWO_FACTOR):
        return Reads(two_factor=True)
    if isinstance(command, RegisterUser | CreateUser):
        return Reads(address=command.email.key)
    if isinstance(command, RequestEmailChange):
        return Reads(address=command.new_email.key)
    if envelope.by_email is not None:
        return Reads(address=envelope.by_email.key)
    return Reads()


def pending_address(envelope: CommandEnvelope, user: User | None) -> str | None:
    """Return the key of the address that the command would claim, as stored with its user."""
    if isinstance(envelope.command, ConfirmEmailChange) and user and user.email_change:
        return user.email_change.new_email.key
    return None


def touched_addresses(envelope: CommandEnvelope, user: User | None) -> set[str]:
    """Return the keys of all addresses that deciding the command reads or changes."""
    keys = {reads_of(envelope).address, pending_address(envelope, user)}
    if isinstance(envelope.command, ConfirmEmailChange | EraseUser) and user and user.email:
        keys.add(user.email.key)
    return {key for key in keys if key is not None}
