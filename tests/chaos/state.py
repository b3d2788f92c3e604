"""Compare the stored state with what events and rules make of the same history."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from application.ports import EventMessage
from application.repository import BannedAddress, Outcome
from domain import commands as c
from domain.user import User
from domain.values import render_time
from tests.builders import HASH_KEYS
from tests.chaos.history import Sent
from tests.chaos.subscriber import replay
from tests.chaos.workload import Planned
from tests.reliability.invariants import Stored, _impersonal
from tests.reliability.model import Answer, Model

EMAIL_TAKEN = "EmailTaken"
READ_IN_PARTS = (c.StartSession, c.RotateRefreshToken, c.RevokeSession, c.UseRecoveryCode)
AT_THE_SAME_TIME = timedelta(seconds=30)
"""Longer than two decisions can overlap: the time for which the SDK tries one call."""
HELD_FOR = timedelta(minutes=13)
"""Less than the 15 minutes from an erasure to the release of the address: a run ends a little
before its workers do."""


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
        before = self.model.copy()
        answer = self.model.decide(user_id, command, outcome.recorded_at, time)
        if answer == stored:
            return None
        if self._was_so_at_the_time(outcome, planned, stored):
            self.model = before  # the command was rejected and changed nothing
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


# --- addresses -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claim:
    """An address that a decided command requested for its user."""

    outcome: Outcome
    address: str


def _claims(stored: Stored, commands: Mapping[str, Sent]) -> Iterator[Claim]:
    """Yield the claims, those of one user in the order of versions."""
    asked_for: dict[tuple[str | None, str], str] = {}
    for outcome in sorted(stored.decided, key=_place):
        sent = commands.get(outcome.command_id)
        match sent.planned.command if sent else None:
            case c.RequestEmailChange(new_email=address, token_hash=secret):
                asked_for[outcome.user_id, secret.stored] = key = address.key
            case c.RegisterUser(email=address) | c.CreateUser(email=address):
                key = address.key
            case c.ConfirmEmailChange(token_hash=secret):
                key = asked_for.get((outcome.user_id, secret.stored), "")
            case _:
                continue
        yield Claim(outcome, key)


def _claimed(claim: Claim, commands: Mapping[str, Sent]) -> bool:
    """Return True if the user has had the address since the command."""
    command = commands[claim.outcome.command_id].planned.command
    return claim.outcome.code is None and not isinstance(command, c.RequestEmailChange)


def taken_by_nobody(stored: Stored, commands: Mapping[str, Sent]) -> Iterator[str]:
    """Yield the rejections for a taken address that no other user ever had."""
    holders = defaultdict[str, set[str | None]](set)
    refused: list[Claim] = []
    for claim in _claims(stored, commands):
        if _claimed(claim, commands):
            holders[claim.address].add(claim.outcome.user_id)
        elif str(claim.outcome.code) == EMAIL_TAKEN:
            refused.append(claim)
    for claim in refused:
        if not holders[claim.address] - {claim.outcome.user_id}:
            command_id = claim.outcome.command_id
            yield f"{command_id} was refused {claim.address}, which no other user ever had"


# --- bans of erased users --------------------------------------------------------------------


@dataclass(slots=True)
class ErasedBan:
    """A ban that was in force when its user was erased."""

    user_id: str
    address: str
    """The address that the user had then."""
    until: datetime | None
    erased_at: datetime
    unbanned_at: datetime | None = None

    @property
    def item(self) -> BannedAddress:
        """Return what the table has to contain while the ban is in force."""
        return BannedAddress(HASH_KEYS.address_hash(self.address), self.user_id, self.until)

    def is_in_force(self, now: datetime) -> bool:
        """Return True if the ban has neither expired nor been removed."""
        return self.unbanned_at is None and self.item.is_in_force(now)


def erased_while_banned(stored: Stored, commands: Mapping[str, Sent]) -> list[ErasedBan]:
    """Return the bans that outlive an erasure, by the commands that took effect."""
    claims = {claim.outcome.command_id: claim for claim in _claims(stored, commands)}
    addresses: dict[str, str] = {}
    bans: dict[str, datetime | None] = {}
    erased: dict[str, ErasedBan] = {}
    for outcome in sorted(filter(_changes, stored.decided), key=_place):
        user_id, sent, now = outcome.user_id, commands.get(outcome.command_id), outcome.recorded_at
        if user_id is None or sent is None or sent.planned.rival or outcome.code is not None:
            continue
        claim = claims.get(outcome.command_id)
        if claim is not None and _claimed(claim, commands):
            addresses[user_id] = claim.address
        match sent.planned.command:
            case c.BanUser(until=until):
                bans[user_id] = until
            case c.UnbanUser():
                bans.pop(user_id, None)
                if user_id in erased:
                    erased[user_id].unbanned_at = now
            case c.EraseUser() if user_id in bans:
                ban = ErasedBan(user_id, addresses.get(user_id, ""), bans[user_id], now)
                if ban.is_in_force(now):
                    erased[user_id] = ban
            case _:
                pass
    return list(erased.values())


def forgotten_bans(stored: Stored, erased: list[ErasedBan], ended: datetime) -> Iterator[str]:
    """Yield the bans that are not stored when the run ends, and the addresses not held."""
    for ban in erased:
        mine = f"{ban.address} of {ban.user_id}, who was erased while banned,"
        if ban.is_in_force(ended) and stored.banned.get(ban.item.address_hash) != ban.item:
            yield f"{mine} is not banned"
        if ended < ban.erased_at + HELD_FOR and stored.held.get(ban.address) != ban.user_id:
            yield f"{mine} is not held"
    for address, user_id in stored.held.items():
        if stored.releases.get(address) != user_id:
            yield f"{address} is held for {user_id}, and no scrub job releases it"


def unfounded_bans(stored: Stored, erased: list[ErasedBan]) -> Iterator[str]:
    """Yield the banned and the held addresses that no user had who was erased while banned."""
    banned = [ban.item for ban in erased if ban.unbanned_at is None]
    for item in stored.banned.values():
        if item not in banned:
            yield f"{item} is stored, and no such ban outlived an erasure"
    held = {(ban.address, ban.user_id) for ban in erased}
    for address, user_id in stored.held.items() - held:
        yield f"{address} is held for {user_id}, who was not erased with it while banned"


def claimed_while_banned(
    stored: Stored, commands: Mapping[str, Sent], erased: list[ErasedBan]
) -> Iterator[str]:
    """Yield the accepted claims of an address whose ban had outlived its user."""
    bans = defaultdict[str, list[ErasedBan]](list)
    for ban in erased:
        bans[ban.address].append(ban)
    for claim in _claims(stored, commands):
        if not _claimed(claim, commands):
            continue
        at, user_id = claim.outcome.recorded_at, claim.outcome.user_id
        for ban in bans[claim.address]:
            ends = ban.unbanned_at or ban.until
            after = ban.erased_at + AT_THE_SAME_TIME < at
            if after and (ends is None or at < ends - AT_THE_SAME_TIME):
                yield f"{user_id} claimed {ban.address}, banned since {ban.user_id} was erased"
