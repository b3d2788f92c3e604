"""What a subscriber knows from the events of a user, each once, in the order of `sequence`.

Written from the events' descriptions alone: it imports neither the aggregate nor its state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from domain.events import EVENTS


@dataclass(slots=True)
class Known:
    """A user, as far as its events report. Times are RFC 3339."""

    email: str | None = None
    verified: bool = False
    roles: list[str] = field(default_factory=list)
    credential_version: int = 0
    failed_logins: int = 0
    locked_until: str | None = None
    banned: tuple[str | None] | None = None
    deactivated: bool = False
    erased: bool = False
    two_factor: bool = False
    sessions: dict[str, str] = field(default_factory=dict)
    """Expiry times of the active sessions, by id."""
    version: int = 0
    time: str = ""
    """When the last event happened."""

    def hear(self, event: dict[str, Any]) -> None:
        """Apply an event.

        An event that is defined and not in `_HEARD` is counted and has no other effect here.

        Raises:
            KeyError: There is no such event.
        """
        self.version += 1
        self.time = event["time"]
        _HEARD.get(EVENTS[event["type"]].__name__, _nothing)(self, event["data"])

    def trust(self) -> None:
        """Reset failures and lock."""
        self.failed_logins, self.locked_until = 0, None


def replay(events: Iterable[dict[str, Any]]) -> Known:
    """Return what is known after the events of one user, in order."""
    known = Known()
    for event in events:
        known.hear(event)
    return known


Data = dict[str, Any]


def _registered(known: Known, data: Data) -> None:
    known.email, known.credential_version = data["email"], 1


def _created(known: Known, data: Data) -> None:
    known.email, known.roles = data["email"], list(data["roles"])
    known.verified = data["email_verified"]


def _nothing(_: Known, __: Data) -> None:
    """Apply an event that does not change the user."""


def _verified(known: Known, _: Data) -> None:
    known.verified = True


def _moved(known: Known, data: Data) -> None:
    known.email, known.verified = data["new_email"], True


def _password(known: Known, data: Data) -> None:
    known.credential_version = data["credential_version"]
    known.sessions.clear()


def _reset(known: Known, data: Data) -> None:
    _password(known, data)
    known.trust()


def _started(known: Known, data: Data) -> None:
    known.sessions[data["session_id"]] = data["expires_at"]
    known.trust()


def _rotated(known: Known, data: Data) -> None:
    assert data["session_id"] in known.sessions, "a session that is not alive was rotated"
    known.sessions[data["session_id"]] = data["expires_at"]


def _ended(known: Known, data: Data) -> None:
    del known.sessions[data["session_id"]]


def _others_ended(known: Known, data: Data) -> None:
    known.sessions = {data["session_id"]: known.sessions[data["session_id"]]}


def _all_ended(known: Known, _: Data) -> None:
    known.credential_version += 1
    known.sessions.clear()


def _failed(known: Known, data: Data) -> None:
    known.failed_logins = data["failed_logins"]


def _locked(known: Known, data: Data) -> None:
    known.failed_logins, known.locked_until = 0, data["locked_until"]


def _unlocked(known: Known, _: Data) -> None:
    known.trust()


def _second_factor(on: bool) -> Callable[[Known, Data], None]:
    def heard(known: Known, _: Data) -> None:
        known.two_factor = on

    return heard


def _assigned(known: Known, data: Data) -> None:
    known.roles.append(data["role"])


def _revoked(known: Known, data: Data) -> None:
    known.roles.remove(data["role"])


def _banned(known: Known, data: Data) -> None:
    known.banned = (data["until"],)
    _all_ended(known, data)


def _unbanned(known: Known, _: Data) -> None:
    known.banned = None


def _deactivated(known: Known, data: Data) -> None:
    known.deactivated = True
    _all_ended(known, data)


def _reactivated(known: Known, _: Data) -> None:
    known.deactivated = False


def _erased(known: Known, _: Data) -> None:
    """Forget everything but a ban in force, which only its end or UserUnbanned removes."""
    version = known.credential_version + 1
    left = Known(erased=True, version=known.version, credential_version=version, time=known.time)
    if known.banned is not None and _is_later(known.banned[0], known.time):
        left.banned = known.banned
    for name in Known.__slots__:
        setattr(known, name, getattr(left, name))


def _is_later(until: str | None, time: str) -> bool:
    return until is None or datetime.fromisoformat(until) > datetime.fromisoformat(time)


_HEARD: dict[str, Callable[[Known, Data], None]] = {
    "UserRegistered": _registered,
    "UserCreated": _created,
    "ProfileUpdated": _nothing,
    "EmailVerificationRequested": _nothing,
    "EmailVerified": _verified,
    "EmailChangeRequested": _nothing,
    "EmailChanged": _moved,
    "PasswordChanged": _password,
    "PasswordResetRequested": _nothing,
    "PasswordReset": _reset,
    "SessionStarted": _started,
    "RefreshTokenRotated": _rotated,
    "SessionRevoked": _ended,
    "OtherSessionsRevoked": _others_ended,
    "AllSessionsRevoked": _all_ended,
    "RefreshTokenReuseDetected": _ended,
    "LoginFailed": _failed,
    "UserLocked": _locked,
    "UserUnlocked": _unlocked,
    "TwoFactorEnabled": _second_factor(on=True),
    "TwoFactorDisabled": _second_factor(on=False),
    "RecoveryCodeUsed": _nothing,
    "RoleAssigned": _assigned,
    "RoleRevoked": _revoked,
    "UserBanned": _banned,
    "UserUnbanned": _unbanned,
    "UserDeactivated": _deactivated,
    "UserReactivated": _reactivated,
    "UserErased": _erased,
}
