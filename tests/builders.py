"""Commands and messages for tests; ids are derived from short names."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from application.batch_policy import BatchPolicy
from application.disposition import ReceivedMessage
from application.key_ring import KeyRing
from application.pending_command import PendingCommand
from domain import commands as c
from domain.fields import FieldDefinition, Items, Text, fields_of
from domain.values import EmailAddress, PasswordHash, TokenHash
from tests.canaries import TOKEN_MARK

ALLOW_ALL = Path(__file__).parents[1] / "benchmarks" / "permissions.toml"
"""A file of permissions that permits everything."""
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
PASSWORD = PasswordHash.parse(
    "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$Y2hlY2tzdW1jaGVja3N1bWNoZWNrc3VtY2hlY2s"
)
NAMESPACE = UUID("00000000-0000-4000-8000-000000000000")


def uid(name: str) -> str:
    """Return a stable UUID for a short name."""
    return str(uuid5(NAMESPACE, name))


def token(name: str) -> TokenHash:
    """Return the hash of a token that a short name stands for."""
    return TokenHash(hashlib.sha256(name.encode()).hexdigest()[:52] + TOKEN_MARK)


FAMILY = token("family")
"""The secret that the refresh tokens of a session share; here of all sessions."""


def email(name: str) -> EmailAddress:
    """Return an address for a short name."""
    return EmailAddress.parse(f"{name}@example.com")


def register(address: str) -> c.RegisterUser:
    """Create the registration of an address."""
    return c.RegisterUser(email(address), "Ada", PASSWORD, last_name="Lovelace")


def start_session(
    session_id: str, part: TokenHash, expires_at: datetime, version: int = 1, **more: Any
) -> c.StartSession:
    """Create the start of a session after a login with a password, by default the first one."""
    return c.StartSession(session_id, FAMILY, part, expires_at, version, ("pwd",), **more)


def rotation(
    session_id: str, part: TokenHash, following: TokenHash, expires_at: datetime
) -> c.RotateRefreshToken:
    """Create the exchange of the part of a refresh token for the following one."""
    return c.RotateRefreshToken(session_id, FAMILY, part, following, expires_at)


def request_change(address: str) -> c.RequestEmailChange:
    """Create the request for an address, with a token named after it."""
    return c.RequestEmailChange(
        email(address), uid(f"token {address}"), token(address), NOW + timedelta(hours=1)
    )


def example_value(field: FieldDefinition) -> Any:
    """Return the example of a field's rule as a value of the domain."""
    match field.rule:
        case Text(parse=parse, example=example):
            return parse(example)
        case Items(item=item, example=example):
            return tuple(map(item.parse, example))
    return field.rule.example


def example_command(kind: type[c.Command]) -> c.Command:
    """Return a command made of the examples of its fields, naming its user by id."""
    by_email = {"email": None} if kind.may_name_by_email() else {}
    return kind(**{field.name: example_value(field) for field in fields_of(kind)} | by_email)


def envelope(
    command: c.Command, user: str | None, command_id: str | None = None
) -> c.CommandEnvelope:
    """Wrap a command."""
    name = command_id or f"{command!r} {user}"
    return c.CommandEnvelope(
        uid(name), uid(user) if user else None, command, f"of {command!r}", "/test", NOW
    )


def message(
    body: str = "", *, receives: int = 1, group: str | None = None, age: float = 600
) -> ReceivedMessage:
    """Create a received message; with a group, of a FIFO queue."""
    return ReceivedMessage(
        message_id=uid(f"message {body} {group}"),
        body=body,
        receives=receives,
        sent_at=NOW.timestamp() - age,
        group_id=group,
        fifo=group is not None,
    )


def works(
    *pairs: tuple[c.Command, str | None],
    group: str | None = None,
    age: float = 600,
    name: str = "command",
) -> list[PendingCommand]:
    """Create the pending commands for commands of users with short names."""
    return [
        PendingCommand.of(
            index, message(group=group, age=age), envelope(command, user, f"{name} {index}")
        )
        for index, (command, user) in enumerate(pairs)
    ]


HASH_KEY = "the key of the tests; it is long enough"
HASH_KEYS = KeyRing((HASH_KEY.encode(),))
POLICY = BatchPolicy(
    max_receives=12,
    outcome_lifetime=timedelta(days=90),
    command_lifetime=timedelta(days=60),
    registration_grace=timedelta(seconds=60),
    hash_keys=HASH_KEYS,
)
OLDEST = NOW - POLICY.command_lifetime
