"""Values, users and commands that the domain's tests start from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from domain.commands import Command, CommandEnvelope
from domain.errors import RejectionCode
from domain.events import Event
from domain.handlers import Context, Decision, handle
from domain.sessions import Session
from domain.tokens import OneTimeToken
from domain.user import TwoFactor, User
from domain.values import EmailAddress, PasswordHash, TokenHash
from tests.builders import FAMILY

NOW = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
BEFORE = NOW - timedelta(hours=1)
SOON = NOW + timedelta(minutes=15)
OLDEST = NOW - timedelta(days=60)

USER_ID = "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77"
OTHER_ID = "6a1d5a1f-302c-4b69-8b40-1e4c9a2a0d88"
COMMAND_ID = "0190b6d2-7d8a-7c1e-9a53-0a1f5d0c9b11"
TOKEN_ID = "0190b6d2-7d8a-7c1e-9a53-0a1f5d0c9b22"
SESSION_ID = "0190b6d2-7d8a-7c1e-9a53-0a1f5d0c9b33"

ADA = EmailAddress.parse("Ada@example.com")
NEW = EmailAddress.parse("ada@lovelace.example")


def token(name: str) -> TokenHash:
    """Return the hash of a token, as a producer sends it."""
    return TokenHash.parse(hashlib.sha256(name.encode()).hexdigest())


def password(name: str) -> PasswordHash:
    """Return a password hash that depends on the name."""
    salt = hashlib.sha256(name.encode()).hexdigest()[:22]
    return PasswordHash.parse(f"$argon2id$v=19$m=65536,t=3,p=4${salt}${'h' * 43}")


def out(name: str, expires_at: datetime = SOON) -> OneTimeToken:
    """Return a pending one-time token."""
    return OneTimeToken(token(name).stored, expires_at)


def session(
    *live: str, replaced: str | None = None, replaced_at: datetime = BEFORE, **changes: Any
) -> Session:
    """Return a stored session with live and replaced parts of its token, of these names."""
    state: dict[str, Any] = {"expires_at": SOON, "revision": 1, **changes}
    if replaced is not None:
        state |= {"replaced_token_hash": part(replaced), "replaced_at": replaced_at}
    parts = tuple(part(name) for name in live or ("current",))
    return Session(SESSION_ID, FAMILY.stored, parts, **state)


def part(name: str) -> str:
    """Return the stored form of a part of a refresh token."""
    return token(name).stored[:32]


def with_session(stored: Session) -> dict[str, Any]:
    """Return the attributes of a user whose only session is this one."""
    return {
        "sessions": {stored.session_id: stored},
        "live_sessions": {stored.session_id: stored.expires_at},
    }


NO_SESSION: dict[str, Any] = {"sessions": {}, "live_sessions": {}}


def second_factor(*codes: str) -> TwoFactor:
    """Return a stored second factor with these recovery codes."""
    return TwoFactor("ciphertext", tuple(token(code).stored for code in codes), revision=1)


def ada(**changes: Any) -> User:
    """Return a registered user at version 7."""
    state: dict[str, Any] = {
        "user_id": USER_ID,
        "version": 7,
        "created_at": BEFORE,
        "updated_at": BEFORE,
        "email": ADA,
        "first_name": "Ada",
        "last_name": "Lovelace",
        "password_hash": password("first").value,
        "credential_version": 1,
        **changes,
    }
    return User(**state)


def erased() -> User:
    """Return a tombstone."""
    user = ada()
    user.erase(NOW, hash_address)
    return user


def hash_address(key: str) -> str:
    """Return the hash of an address; the domain does not know how it is made."""
    return f"hash of {key}"


def envelope(command: Command, **changes: Any) -> CommandEnvelope:
    """Return the envelope of a command."""
    around: dict[str, Any] = {
        "command_id": COMMAND_ID,
        "user_id": USER_ID,
        "content_hash": "content",
        "source": "/test",
        "sent_at": NOW,
        **changes,
    }
    return CommandEnvelope(command=command, **around)


def decide(
    command: Command,
    user: User | None,
    *,
    addresses: Mapping[str, str] | None = None,
    now: datetime = NOW,
    **around: Any,
) -> Decision:
    """Handle a command sent now."""
    context = Context(now, addresses or {}, OLDEST, hash_address)
    return handle(envelope(command, **{"sent_at": now, **around}), user, context)


@dataclass(frozen=True)
class Case:
    """A command, the user that it meets, and all that must come of it.

    `events` are the numbered ones; neither a code nor an event means no effect. `after` lists the
    attributes that differ afterwards; nothing else may.
    """

    promise: str
    command: Command
    user: User | None = field(default_factory=ada)
    code: RejectionCode | None = None
    events: tuple[Event, ...] = ()
    after: Mapping[str, Any] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    around: Mapping[str, Any] = field(default_factory=dict)
