"""Users, outcomes and stored texts in a form that is safe to show to an operator."""

from __future__ import annotations

from dataclasses import Field, fields
from datetime import UTC, datetime
from typing import Any, Final

from application.repository import Outcome
from domain.errors import InvalidValueError
from domain.events import CommandHadNoEffect
from domain.user import User
from domain.values import parse_id, render_time

_NOT_BY_NAME: Final = frozenset(
    {
        "ban",
        "deactivation_reason",
        "email_change",
        "email_verification",
        "live_sessions",
        "lock_count",
        "password_hash",
        "password_reset",
        "two_factor_enabled",
    }
)
"""Fields of a user that are shown under another name, or not shown: credentials are not read."""


def known_id(value: object) -> str | None:
    """Return a value that anyone may have written if it is an id."""
    try:
        return parse_id(value) if isinstance(value, str) else None
    except InvalidValueError:
        return None


def is_id(text: str) -> bool:
    """Return True if a text that anyone may have published is an id, and so may be in a link."""
    return known_id(text) is not None


def name_of(message_type: str) -> str:
    """Return the class name in a message type: `RegisterUser` for `biome.user.RegisterUser.v1`."""
    parts = message_type.split(".")
    return parts[2] if len(parts) == 4 else message_type  # noqa: PLR2004 - biome.user.<Name>.v<N>


def outcome_words(outcome: Outcome) -> str:
    """Return how a command ended, in one or two words."""
    if outcome.code is not None:
        return f"rejected {outcome.code}"
    if any(event.type == CommandHadNoEffect.type for event in outcome.events):
        return "accepted, no effect"
    return "accepted"


def user_facts(user: User) -> dict[str, object]:
    """Return the fields of a user to show, without credentials.

    Other fields than those listed here follow at the end, under their own names.
    """
    now = datetime.now(UTC)
    facts = {
        "user_id": user.user_id,
        "version": user.version,
        "email": user.email and user.email.value,
        "email_verified": user.email_verified,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "credential_version": user.credential_version,
        "roles": list(user.roles),
        "two_factor": "enabled" if user.two_factor_enabled else None,
        "failed_logins": user.failed_logins,
        "locked_until": _time(user.locked_until),
        "banned": user.ban is not None,
        "ban_reason": (user.ban and user.ban.reason) or None,
        "banned_until": user.ban and _time(user.ban.until),
        "deactivated": user.deactivated,
        "erased": user.erased,
        "sessions": [key for key in user.live_sessions if user.has_session(key, now)],
        "created_at": _time(user.created_at),
        "updated_at": _time(user.updated_at),
    }
    known = facts.keys() | _NOT_BY_NAME
    return facts | {f.name: _fact(user, f) for f in fields(user) if f.name not in known}


def _fact(user: User, field: Field[Any]) -> object:
    """Return the value of a field; for a field excluded from the repr, only whether it is set."""
    value = getattr(user, field.name)
    if not field.repr:
        return _set(value)
    match value:
        case datetime():
            return _time(value)
        case tuple():
            return list(value)
        case None | str() | int():
            return value
        case _:
            return _set(value)


def _set(value: object) -> str | None:
    """Return `set` for a value; None if there is no value, or nothing in it."""
    return None if value is None or value in ("", {}) else "set"


def _time(value: datetime | None) -> str | None:
    return None if value is None else render_time(value)
