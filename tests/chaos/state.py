"""Compare the stored state with what events and rules make of the same history."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from application.ports import EventMessage, Outcome
from domain import commands as c
from domain.user import User
from domain.values import render_time
from tests.chaos.history import Sent
from tests.chaos.subscriber import replay
from tests.chaos.workload import Planned
from tests.reliability.invariants import Stored, _impersonal
from tests.reliability.model import Answer, Model

EMAIL_TAKEN = "EmailTaken"
READ_IN_PARTS = (c.StartSession, c.RotateRefreshToken, c.RevokeSession, c.UseRecoveryCode)
AT_THE_SAME_TIME = timedelta(seconds=30)
"""Longer than two decisions can overlap: the time for which the SDK tries one call."""


def unlike(event: dict[str, Any], stored: EventMessage) -> bool:
    """Return True if a published event differs from the stored one, except for erased data."""
    return _impersonal(event) != _impersonal(json.loads(stored.body))


# --- by events -------------------------------------------------------------------------------


def replayed(user: User, stored: Stored, events: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield the differences between a stored user and what its events report."""
    try:
        known = replay(events)
    except (AssertionError, KeyError, ValueError) as error:
        yield f"the events contradict each other: {error!r}"
        return
    there = {
        "email": user.email.value if user.email else None,
        "verified": user.email_verified,
        "roles": list(user.roles),
        "credential_version": user.credential_version,
        "failed_logins": user.failed_logins,
        "locked_until": _time(user.locked_until),
        "banned": (_time(user.ban.until),) if user.ban else None,
        "deactivated": user.deactivated,
        "erased": user.erased,
        "two_factor": user.two_factor_enabled,
        "sessions": _alive(user, stored),
        "version": user.version,
    }
    for name, value in there.items():
        if getattr(known, name) != value:
            yield f"{name} is {getattr(known, name)!r} and stored {value!r}"


def _alive(user: User, stored: Stored) -> dict[str, str]:
    return {
        session_id: render_time(session.expires_at)
        for (owner, session_id), session in stored.sessions.items()
        if owner == user.user_id and session_id in user.live_sessions
    }


def _time(time: datetime | None) -> str | None:
    return None if time is None else render_time(time)


# --- by the rules ----------------------------------------------------------------------------


def decided_again(
    user_id: str | None, stored: Stored, commands: Mapping[str, Sent]
) -> Iterator[str]:
    """Yield where a model that applies one user's commands in order decides differently.

    Commands that changed the user are ordered by version; the others come after that version.
    Whether an address was taken depends on the history of all users, so the model of one user does
    not check it.
    """
    replica = _Replica()
    for outcome in sorted((o for o in stored.decided if o.user_id == user_id), key=_place):
        sent = commands.get(outcome.command_id)
        if sent is None or sent.planned.command is None or sent.planned.rival:
            return
        if str(outcome.code) == EMAIL_TAKEN:
            continue
        difference = replica.difference(outcome, sent.planned)
        if difference is not None:
            yield difference
            return
    if user_id in stored.users:
        mine = Stored(
            {user_id: stored.users[user_id]}, stored.sessions, stored.two_factors, stored.owners
        )
        yield from replica.model.differences(mine)


class _Replica:
    """A user to whom the same commands are applied, with the previous states."""

    def __init__(self) -> None:
        self.model = Model()
        self._past: list[tuple[datetime, Model]] = []
        """The state before each change, and when the change was decided."""

    def difference(self, outcome: Outcome, planned: Planned) -> str | None:
        """Apply the command; return a difference from the stored answer, or None."""
        assert planned.command is not None
        user_id, command, time = planned.user_id, planned.command, planned.time
        code = None if outcome.code is None else str(outcome.code)
        stored = code, tuple(event.type.split(".")[2] for event in outcome.events)
        if _changes(outcome):
            self._past.append((outcome.recorded_at, self.model.copy()))
        answer = self.model.decide(user_id, command, outcome.recorded_at, time)
        if answer == stored or self._was_so_at_the_time(outcome, planned, stored):
            return None
        name = f"{type(command).__name__} {outcome.command_id}"
        return f"{name} at version {outcome.version}: {answer} and stored {stored}"

    def _was_so_at_the_time(self, outcome: Outcome, planned: Planned, stored: Answer) -> bool:
        """Return True if a rejection is right before a change that was made at the same time.

        A session or a second factor is read beside its user, not at the same instant. When a change
        comes between the two reads, the rejection belongs before it, although it has the later
        version.
        """
        command = planned.command
        if _changes(outcome) or not isinstance(command, READ_IN_PARTS):
            return False
        return any(
            before.copy().decide(planned.user_id, command, outcome.recorded_at, planned.time)
            == stored
            for at, before in self._past
            if outcome.recorded_at - at < AT_THE_SAME_TIME
        )


def _changes(outcome: Outcome) -> bool:
    return any(event.sequence is not None for event in outcome.events)


def _place(outcome: Outcome) -> tuple[int, bool, datetime]:
    return outcome.version, not _changes(outcome), outcome.recorded_at


def overtaken(stored: Stored, commands: Mapping[str, Sent]) -> Iterator[str]:
    """Yield commands that changed their user before an earlier command of their group did.

    A group is what is sent to one user by one queue; a message that is sent again counts once.
    """
    versions = {o.command_id: o.version for o in stored.decided if _changes(o)}
    latest: dict[tuple[str, bool], int] = {}
    for sent in sorted(commands.values(), key=lambda sent: sent.planned.at[0]):
        planned = sent.planned
        version = versions.get(planned.command_id)
        if version is None or planned.user_id is None or planned.rival:
            continue
        group = planned.user_id, planned.urgent
        if version < latest.get(group, 0):
            yield f"{planned.command_id} of {planned.user_id} overtook one that was sent earlier"
        latest[group] = max(version, latest.get(group, 0))


def taken_by_nobody(stored: Stored, commands: Mapping[str, Sent]) -> Iterator[str]:
    """Yield the rejections for a taken address that no other user ever had."""
    asked_for: dict[tuple[str | None, str], str] = {}
    holders = defaultdict[str, set[str | None]](set)
    refused: list[tuple[str, str | None, str]] = []
    for outcome in sorted(stored.decided, key=_place):
        sent = commands.get(outcome.command_id)
        match sent.planned.command if sent else None:
            case c.RequestEmailChange(new_email=address, token_hash=secret):
                asked_for[outcome.user_id, secret.stored] = key = address.key
                claims = False
            case c.RegisterUser(email=address) | c.CreateUser(email=address):
                key, claims = address.key, True
            case c.ConfirmEmailChange(token_hash=secret):
                key, claims = asked_for.get((outcome.user_id, secret.stored), ""), True
            case _:
                continue
        if outcome.code is None and claims:
            holders[key].add(outcome.user_id)
        elif str(outcome.code) == EMAIL_TAKEN:
            refused.append((key, outcome.user_id, outcome.command_id))
    for key, user_id, command_id in refused:
        if not holders[key] - {user_id}:
            yield f"{command_id} was refused {key}, which nobody else ever had"
