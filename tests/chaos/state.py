"""Compares what is stored with what events and rules make of the same history."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from domain import commands as c
from domain.model import User
from domain.ports import EventMessage, Outcome
from domain.values import render_time
from tests.chaos.history import Sent
from tests.chaos.subscriber import replay
from tests.reliability.invariants import Stored, _impersonal
from tests.reliability.model import Model

EMAIL_TAKEN = "EmailTaken"


def unlike(event: dict[str, Any], stored: EventMessage) -> bool:
    """Say whether a published event is not the stored one, apart from what an erasure takes."""
    return _impersonal(event) != _impersonal(json.loads(stored.body))


# --- by events -------------------------------------------------------------------------------


def replayed(user: User, stored: Stored, events: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Give the differences between a stored user and what its events tell."""
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
        if owner == user.user_id and session.session_epoch == user.session_epoch
    }


def _time(time: datetime | None) -> str | None:
    return None if time is None else render_time(time)


# --- by the rules ----------------------------------------------------------------------------


def decided_again(
    user_id: str | None, stored: Stored, commands: Mapping[str, Sent]
) -> Iterator[str]:
    """Give where a model that takes one user's commands in order decides otherwise.

    What changed the user has its place by its version; what did not, comes after it. Whether an
    address was another's is for the history of all users: the model of one takes it as told.
    """
    model = Model()
    for outcome in sorted((o for o in stored.decided if o.user_id == user_id), key=_place):
        sent = commands.get(outcome.command_id)
        if sent is None or sent.planned.command is None or sent.planned.rival:
            return
        code = None if outcome.code is None else str(outcome.code)
        if code == EMAIL_TAKEN:
            continue
        names = tuple(event.type.split(".")[2] for event in outcome.events)
        command = sent.planned.command
        answer = model.decide(sent.planned.user_id, command, outcome.recorded_at)
        if answer != (code, names):
            name = f"{type(command).__name__} {outcome.command_id}"
            yield f"{name} at version {outcome.version}: {answer} and stored {(code, names)}"
            return
    if user_id in stored.users:
        mine = Stored(
            {user_id: stored.users[user_id]}, stored.sessions, stored.two_factors, stored.owners
        )
        yield from model.differences(mine)


def _place(outcome: Outcome) -> tuple[int, bool, datetime]:
    changed = any(event.sequence is not None for event in outcome.events)
    return outcome.version, not changed, outcome.recorded_at


def taken_by_nobody(stored: Stored, commands: Mapping[str, Sent]) -> Iterator[str]:
    """Give the refusals for a taken address that no other user ever had."""
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
