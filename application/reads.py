"""Return what must be read before a command can be decided, and which addresses it touches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from domain.commands import CommandEnvelope, ConfirmEmailChange, EraseUser
from domain.fields import fields_of
from domain.user import User
from domain.values import EmailAddress


@dataclass(frozen=True, slots=True)
class Reads:
    """Items that one command reads, besides its user and its outcome."""

    session_id: str | None = None
    two_factor: bool = False
    address: str | None = None
    """The key of the address that the command names."""


def reads_of(envelope: CommandEnvelope) -> Reads:
    """Return what a command reads, derived from its definition.

    A command that names a session reads the session, one that names an address reads its owner, and
    one with `needs_two_factor` or with a recovery code reads the second factor.
    """
    command = envelope.command
    kind: type = type(command)
    name = _address_field(kind)
    address: EmailAddress | None = None if name is None else getattr(command, name)
    recovery_code = getattr(command, "recovery_code_hash", None)
    two_factor = command.needs_two_factor or recovery_code is not None
    return Reads(
        session_id=getattr(command, "session_id", None),
        two_factor=two_factor,
        address=None if address is None else address.key,
    )


@cache
def _address_field(command: type) -> str | None:
    """Return the name of the field with an address; no command has two."""
    return next((each.name for each in fields_of(command) if each.kind is EmailAddress), None)


def pending_address(envelope: CommandEnvelope, user: User | None) -> str | None:
    """Return the key of the address that the command would assign, known from its user only."""
    if isinstance(envelope.command, ConfirmEmailChange) and user and user.email_change:
        return user.email_change.new_email.key
    return None


def claimed_address(envelope: CommandEnvelope, user: User | None) -> str | None:
    """Return the key of the address that has to be free for the command."""
    if envelope.by_email is not None:
        return None
    return reads_of(envelope).address or pending_address(envelope, user)


def touched_addresses(envelope: CommandEnvelope, user: User | None) -> set[str]:
    """Return the keys of all addresses that deciding the command reads or changes."""
    keys = {reads_of(envelope).address, pending_address(envelope, user)}
    if isinstance(envelope.command, ConfirmEmailChange | EraseUser) and user and user.email:
        keys.add(user.email.key)
    return {key for key in keys if key is not None}
