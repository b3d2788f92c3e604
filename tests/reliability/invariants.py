"""Invariants that hold whenever the workers are idle, whatever happened before."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from adapters.dynamodb import mapper, records, table
from application.messages import render_events
from application.ports import CommandKey
from application.repository import HELD, BannedAddress, Outcome
from domain.events import PERSONAL_FIELDS, CommandDeadLettered
from domain.sessions import Session
from domain.user import TwoFactor, User
from tests.reliability.world import World

DEAD_LETTERED = CommandDeadLettered.type


@dataclass(slots=True)
class Stored:
    """The table, read item by item."""

    users: dict[str, User] = field(default_factory=dict)
    sessions: dict[tuple[str, str], Session] = field(default_factory=dict)
    two_factors: dict[str, TwoFactor] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    """User ids by address; `HELD` for an address in `held`."""
    outcomes: dict[CommandKey, Outcome] = field(default_factory=dict)
    entries: list[str] = field(default_factory=list)
    scheduled: set[str] = field(default_factory=set)
    """Those of `entries` that are second scrubs."""
    banned: dict[str, BannedAddress] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    """Ids of erased users by the address that is held for them."""
    releases: dict[str, str] = field(default_factory=dict)
    """User ids by the address that a scrub job has to release."""

    @classmethod
    def read(cls, items: Iterable[dict[str, Any]]) -> Stored:
        """Parse every item by the worker's own mappers."""
        stored = cls()
        for item in items:
            stored._add(item, item["pk"]["S"].partition("#")[2], item["sk"]["S"])
        return stored

    def _add(self, item: dict[str, Any], owner: str, sort: str) -> None:
        if item["pk"]["S"].startswith(table.OUTBOX_PREFIX):
            self.entries.append(f"{item['pk']['S']} {item['commands']['S']}")
            if "address" in item:
                address = item["address"]["S"]
                self.releases[address] = item["commands"]["S"].partition("/")[0]
            if "final" in item:
                self.scheduled.add(self.entries[-1])
        elif sort.startswith(table.COMMAND_PREFIX):
            self.outcomes[records.outcome_key_of(item)] = records.parse_outcome(item)
        elif sort.startswith(table.SESSION_PREFIX):
            session = mapper.parse_session(item)
            self.sessions[owner, session.session_id] = session
        elif sort == table.TWO_FACTOR:
            self.two_factors[owner] = mapper.parse_two_factor(item)
        elif sort == table.EMAIL:
            self.owners[owner] = mapper.parse_address(item)
            if self.owners[owner] == HELD:
                self.held[owner] = item["user_id"]["S"]
        elif sort == table.BANNED:
            assert "@" not in json.dumps(item)
            self.banned[owner] = mapper.parse_banned(item)
        else:
            assert sort == table.USER, sort
            self.users[owner] = mapper.parse_user(item)

    @property
    def decided(self) -> list[Outcome]:
        """Return each outcome once.

        Of a command by address, the user's own record if there is one.
        """
        return [o for key, o in self.outcomes.items() if key.user_id == o.user_id]


def check(world: World) -> Stored:
    """Check all invariants; return the stored state."""
    stored = Stored.read(world.items())
    nothing_is_left_over(world, stored)
    every_command_has_one_outcome(world, stored)
    versions_have_no_gaps(stored)
    events_are_published_as_decided(world, stored)
    addresses_and_users_match(stored)
    bans_outlive_their_users(stored)
    parts_belong_to_users(stored)
    erased_users_leave_nothing_personal(stored)
    return stored


def nothing_is_left_over(world: World, stored: Stored) -> None:
    """No message or pointer is left, and the dead-letter queue has exactly the dead messages."""
    assert world.waiting() == 0
    assert stored.entries == []
    assert set(world.dead_letters()) == {message.body for message in world.sent if message.dead}


def every_command_has_one_outcome(world: World, stored: Stored) -> None:
    """Each sent command has been decided once, and no other command has been decided."""
    sent = {(m.user_id, m.command_id) for m in world.sent if m.command and not m.dead}
    decided = [(None if o.by_email else o.user_id, o.command_id) for o in stored.decided]
    assert Counter(decided) == Counter(sent)
    for key, outcome in stored.outcomes.items():
        if outcome.by_email and key.user_id is None and outcome.user_id is not None:
            own = stored.outcomes[CommandKey(outcome.user_id, outcome.command_id)]
            assert (own.status, own.code, own.version) == (
                outcome.status,
                outcome.code,
                outcome.version,
            )


def versions_have_no_gaps(stored: Stored) -> None:
    """The numbered events of a user are 1, 2, 3 ... up to the user's version."""
    numbers = defaultdict[str | None, list[int]](list)
    for outcome in stored.decided:
        assert outcome.events, "a command is answered"
        numbers[outcome.user_id] += [e.sequence for e in outcome.events if e.sequence is not None]
    for user_id, user in stored.users.items():
        assert sorted(numbers.pop(user_id)) == list(range(1, user.version + 1))
    assert not any(numbers.values()), "events of nobody"


def events_are_published_as_decided(world: World, stored: Stored) -> None:
    """A subscriber that deduplicates by id has exactly the outcomes' events, in every field.

    The personal fields are on the personal topic only.
    """
    expected = {m.event_id: m.body for o in stored.decided for m in render_events(o)}
    seen: dict[str, dict[str, Any]] = {}
    for event in world.published(expected):
        first = seen.setdefault(event["id"], event)
        assert comparable(event) == comparable(first), "one id, two events"
    for event_id in [each["id"] for each in seen.values() if each["type"] == DEAD_LETTERED]:
        command_id = seen.pop(event_id)["causationid"]
        assert any(command_id in m.body.lower() for m in world.sent if m.dead)
    assert seen.keys() == expected.keys()
    assert all(event == _impersonal(event) for event in seen.values()), "an address for everybody"
    complete = {
        m.event_id: json.loads(m.complete_body)
        for o in stored.decided
        for m in render_events(o)
        if m.complete_body is not None
    }
    personal = world.published_complete(complete)
    by_id = {event["id"]: event for event in personal}
    assert by_id | complete == by_id, "an event is not published with its address"
    assert all(_impersonal(event) == seen[event["id"]] for event in personal)
    by_user = defaultdict[str, list[tuple[str, str]]](list)
    for event in seen.values():
        if "sequence" in event:
            by_user[event["subject"]].append((event["sequence"], event["type"]))
    for user_id in stored.users:
        events = [e for o in stored.decided if o.user_id == user_id for e in o.events]
        numbered = [(f"{e.sequence:020}", e.type) for e in events if e.sequence is not None]
        assert sorted(by_user[user_id]) == sorted(numbered)


def _impersonal(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event without the data that an erasure between two publications removes."""
    data = {k: None if k in PERSONAL_FIELDS else v for k, v in event["data"].items()}
    return {**event, "data": data}


def comparable(event: dict[str, Any]) -> dict[str, Any]:
    """Return what is the same each time that an event is published.

    The event of a dead letter is not stored, so its time is that of the publication.
    """
    return _impersonal(event) | ({"time": None} if event["type"] == DEAD_LETTERED else {})


def addresses_and_users_match(stored: Stored) -> None:
    """An address has one user, and a user one address; an erased user has none."""
    owned = {user.email.key: id_ for id_, user in stored.users.items() if user.email is not None}
    assert stored.owners == owned
    assert len(owned) == sum(not user.erased for user in stored.users.values())


def bans_outlive_their_users(stored: Stored) -> None:
    """The ban of an address is that of its erased user, and ends with it."""
    kept = [
        BannedAddress(user.ban.address_hash, id_, user.ban.until)
        for id_, user in stored.users.items()
        if user.ban is not None and user.ban.address_hash is not None
    ]
    assert all(ban in kept for ban in stored.banned.values())
    for ban in kept:  # one that has expired may be replaced by that of a later user
        assert stored.banned.get(ban.address_hash) == ban or ban.until is not None


def parts_belong_to_users(stored: Stored) -> None:
    """No session and no second factor without its user; a second factor if the user says so."""
    assert {user_id for user_id, _ in stored.sessions} <= stored.users.keys()
    enabled = {id_ for id_, user in stored.users.items() if user.two_factor_enabled}
    assert stored.two_factors.keys() == enabled


def erased_users_leave_nothing_personal(stored: Stored) -> None:
    """Once the scrub job is done: no login state, no fingerprint, no personal field."""
    for user_id in (id_ for id_, user in stored.users.items() if user.erased):
        assert not any(owner == user_id for owner, _ in stored.sessions)
        for outcome in stored.outcomes.values():
            if outcome.user_id == user_id:
                assert outcome.fingerprint == ""
                assert all(event == event.without_personal_data() for event in outcome.events)
