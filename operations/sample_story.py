"""Sample events: the life of one invented user, decided by the rules of the worker."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

from application.addresses import parse_address
from application.command_id import new_command_id
from application.repository import Outcome, Status
from domain import commands as c
from domain.fields import example_of
from domain.handlers import Context, handle
from domain.user import User
from domain.values import PasswordHash, TokenHash

SOURCE: Final = "/samples"
EMAIL: Final = parse_address("ada@example.com")
NEW_EMAIL: Final = parse_address("ada@example.org")
_STEP: Final = timedelta(minutes=1)


def _hash() -> TokenHash:
    return TokenHash.parse(secrets.token_hex(32))


@dataclass(frozen=True, slots=True)
class _MailedToken:
    """A token of a mail that is requested at `now`; each request has another one."""

    now: datetime
    token_id: str = field(default_factory=lambda: str(uuid4()))
    token_hash: TokenHash = field(default_factory=_hash)

    @property
    def expires_at(self) -> datetime:
        return self.now + timedelta(hours=1)


def _commands(now: datetime) -> tuple[c.Command, ...]:
    """Return the commands of a user who registers, logs in, changes the account and is erased."""
    password = PasswordHash.parse(example_of(c.RegisterUser)["password_hash"])
    verification, change, reset = (_MailedToken(now) for _ in range(3))
    return (
        c.RegisterUser(EMAIL, "Ada", password, last_name="Lovelace"),
        c.RequestEmailVerification(
            verification.token_id, verification.token_hash, verification.expires_at
        ),
        c.VerifyEmail(verification.token_hash),
        c.StartSession(
            session_id=str(uuid4()),
            refresh_family_hash=_hash(),
            refresh_token_hash=_hash(),
            expires_at=now + timedelta(days=30),
            credential_version=1,
            methods=("pwd",),
        ),
        c.UpdateProfile(first_name="Augusta Ada"),
        c.RecordLoginFailure(),
        c.RequestEmailChange(NEW_EMAIL, change.token_id, change.token_hash, change.expires_at),
        c.ConfirmEmailChange(change.token_hash),
        c.RequestPasswordReset(reset.token_id, reset.token_hash, reset.expires_at),
        c.ResetPassword(reset.token_hash, password),
        c.ResetPassword(reset.token_hash, password),  # the link is used again: rejected
        c.DeactivateUser(),
        c.ReactivateUser(),
        c.EraseUser(),
    )


def sample_story(end: datetime | None = None) -> Iterator[Outcome]:
    """Yield the outcomes of the commands of a new user, a minute apart, in order.

    Args:
        end: time of the last command; now by default.
    """
    end = end or datetime.now(UTC)
    user: User | None = None
    user_id = str(uuid4())
    commands = _commands(end)
    for place, command in enumerate(commands):
        now = end - (len(commands) - 1 - place) * _STEP
        envelope = c.CommandEnvelope(new_command_id(), user_id, command, "", SOURCE, now)
        decision = handle(envelope, user, Context(now, {}, now - _STEP, lambda key: key))
        user = decision.user
        yield Outcome(
            command_id=envelope.command_id,
            command_type=envelope.type,
            user_id=user_id,
            by_email=False,
            fingerprint="",
            status=Status.REJECTED if decision.code else Status.ACCEPTED,
            code=decision.code,
            events=decision.events,
            version=user.version if user else 0,
            recorded_at=now,
            expires_at=now,
            source=SOURCE,
            correlation_id=envelope.command_id,
        )
