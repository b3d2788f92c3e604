"""Addresses and tokens change owners: each has one owner, whichever worker decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from application.disposition import Ack
from application.ports import CommandKey
from application.repository import Outcome, Status
from domain import commands as c
from domain.errors import RejectionCode
from domain.values import EmailAddress
from tests.builders import email, register, rotation, start_session, token
from tests.builders import message as received
from tests.e2e.conftest import Pair
from tests.e2e.system import Message, System, event_ids, message
from worker import bootstrap
from worker.settings import load_settings

pytestmark = [pytest.mark.xdist_group("two workers")]


@dataclass(frozen=True, slots=True)
class Names:
    """Unique addresses by short names."""

    mark: str

    def __call__(self, name: str) -> str:
        """Return the local part of an address."""
        return f"{name}-{self.mark}"

    def key(self, name: str) -> str:
        """Return the lookup key of an address."""
        return email(self(name)).key


@pytest.fixture
def names() -> Names:
    """Addresses of this test only."""
    return Names(uuid4().hex)


def in_an_hour() -> datetime:
    """Return an expiry time for tokens."""
    return datetime.now(UTC) + timedelta(hours=1)


def change(user: str, address: str) -> list[Message]:
    """Create the request for an address change and its confirmation."""
    secret = token(f"{user} {address}")
    request = c.RequestEmailChange(email(address), str(uuid4()), secret, in_an_hour())
    return [message(request, user), message(c.ConfirmEmailChange(secret), user)]


def statuses(outcomes: Sequence[Outcome]) -> list[str | None]:
    """Return how commands ended: a rejection's code, or None for an accepted command."""
    return [None if outcome.code is None else str(outcome.code) for outcome in outcomes]


def assert_one_owner_each(
    system: System, names: Names, users: Sequence[str], addresses: Sequence[str]
) -> dict[str, str]:
    """Check that users and address items agree; return the owner of each owned address."""
    stored = system.load(users=set(users), addresses={names.key(name) for name in addresses})
    held = {user.email.key: user.user_id for user in stored.users.values() if user.email}
    assert held == stored.addresses
    assert len(held) == len(users)
    return {name: held[names.key(name)] for name in addresses if names.key(name) in held}


# --- in one batch --------------------------------------------------------------------------


def in_one_batch(
    system: System, monkeypatch: pytest.MonkeyPatch, *messages: Message
) -> list[Outcome]:
    """Handle messages as one batch, with the worker's own composition; return the outcomes."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", system.endpoint)
    settings = load_settings(
        env="test", table=system.names.table, events_topic=system.names.events_topic
    )
    settlements = bootstrap.build(settings).batch.handle([received(sent.body) for sent in messages])
    assert settlements.items == (Ack(),) * len(messages)
    return system.outcomes(messages)


def test_two_users_swap_addresses_in_one_batch(
    pair: Pair, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They use a third address; each step is decided on the result of the previous one."""
    system, ada, bob = pair.system, str(uuid4()), str(uuid4())
    outcomes = in_one_batch(
        system,
        monkeypatch,
        message(register(names("a")), ada),
        message(register(names("b")), bob),
        *change(ada, names("c")),
        *change(bob, names("a")),
        *change(ada, names("b")),
    )
    assert statuses(outcomes) == [None] * 8
    assert assert_one_owner_each(system, names, [ada, bob], "abc") == {"a": bob, "b": ada}
    assert len(system.published(outcomes)) == 8


def test_a_direct_swap_in_one_batch_leaves_both_where_they_were(
    pair: Pair, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither address is free when it is requested, so both requests are rejected."""
    system, ada, bob = pair.system, str(uuid4()), str(uuid4())
    outcomes = in_one_batch(
        system,
        monkeypatch,
        message(register(names("a")), ada),
        message(register(names("b")), bob),
        *change(ada, names("b")),
        *change(bob, names("a")),
    )
    assert statuses(outcomes) == [None, None, *["EmailTaken", "TokenInvalid"] * 2]
    assert assert_one_owner_each(system, names, [ada, bob], "ab") == {"a": ada, "b": bob}


def test_one_user_goes_to_another_address_and_back_in_one_batch(
    pair: Pair, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A to B to A: the first address is free for nobody else, the second for everyone."""
    system, ada, bob = pair.system, str(uuid4()), str(uuid4())
    outcomes = in_one_batch(
        system,
        monkeypatch,
        message(register(names("a")), ada),
        *change(ada, names("b")),
        *change(ada, names("a")),
        message(register(names("b")), bob),
    )
    assert statuses(outcomes) == [None] * 6
    assert assert_one_owner_each(system, names, [ada, bob], "ab") == {"a": ada, "b": bob}
    assert [outcome.version for outcome in outcomes] == [1, 2, 3, 4, 5, 1]


# --- over two workers ----------------------------------------------------------------------


def test_addresses_handed_around_over_two_workers_have_one_owner_each(
    pair: Pair, names: Names
) -> None:
    """Ten users swap and move back at once, in any order: no address is doubled or lost."""
    system = pair.system

    def scene() -> None:
        here = Names(uuid4().hex)
        users = [str(uuid4()) for _ in range(10)]
        registered = [message(register(here(f"home{i}")), user) for i, user in enumerate(users)]
        system.do(*registered)
        moves: list[Message] = []
        for i, user in enumerate(users):
            neighbour = i + 1 if i % 2 == 0 else i - 1
            moves += change(user, here(f"spare{i // 2}"))  # both users want it
            moves += change(user, here(f"home{neighbour}"))  # free only if the other user has moved
            moves += change(user, here(f"home{i}"))  # and back
        with pair.racing():
            system.send(*moves[::2], *moves[1::2])
            outcomes = system.outcomes(moves, seconds=40)

        known = [f"home{i}" for i in range(10)] + [f"spare{i}" for i in range(5)]
        owners = assert_one_owner_each(system, here, users, known)
        assert sorted(owners.values()) == sorted(users)
        for i, user in enumerate(users):
            versions = [o.version for o in outcomes if o.user_id == user and o.code is None]
            events = sum(
                len([e for e in o.events if e.sequence]) for o in outcomes if o.user_id == user
            )
            assert system.user(user).version == 1 + events, versions
            assert len(system.repository.history(user)) == 7, i
        system.published(outcomes)

    pair.share(scene)


def test_an_address_that_moves_on_between_two_workers_takes_only_its_first_taker(
    pair: Pair, names: Names
) -> None:
    """One user gives an address up while ten want it: at most one of them gets it."""
    system, owner = pair.system, str(uuid4())
    takers = [str(uuid4()) for _ in range(10)]
    system.do(message(register(names("a")), owner))
    moving = change(owner, names("b"))
    system.do(moving[0])
    takes = [message(register(names("a")), taker) for taker in takers]
    with pair.racing():
        system.send(*takes[:5], moving[1], *takes[5:])
        outcomes = system.outcomes([moving[1], *takes])
    assert outcomes[0].status is Status.ACCEPTED
    winners = [o.user_id for o in outcomes[1:] if o.status is Status.ACCEPTED]
    assert len(winners) <= 1
    left = system.load(addresses={names.key("a"), names.key("b")}).addresses
    assert left == {names.key("b"): owner} | {names.key("a"): user for user in winners}
    assert Counter(statuses(outcomes[1:]))["EmailTaken"] == 10 - len(winners)


# --- redelivered ---------------------------------------------------------------------------


def test_a_reset_redelivered_after_its_address_changed_hands_does_not_reach_the_new_owner(
    pair: Pair, names: Names
) -> None:
    """A command by e-mail applies to the user that it found first.

    It has one outcome, and causes no event of another user.
    """
    system, old, new = pair.system, str(uuid4()), str(uuid4())
    address = EmailAddress.parse(f"{names('a')}@example.com")
    system.do(message(register(names("a")), old))
    reset = message(
        c.RequestPasswordReset(str(uuid4()), token(f"reset {old}"), in_an_hour(), address), None
    )
    [named] = system.do(reset)
    first = system.repository.outcome(CommandKey(old, reset.command_id))
    assert first is not None
    assert named == first.reference()
    request, confirm = change(old, names("b"))
    system.do(request)
    system.do(confirm)
    system.do(message(register(names("a")), new))

    system.send(reset, reset)
    system.quiet()
    assert [outcome.command_type.split(".")[2] for outcome in system.repository.history(new)] == [
        "RegisterUser"
    ]
    assert system.user(new).password_reset is None
    assert system.outcomes([reset]) == [named]
    assert system.repository.outcome(CommandKey(old, reset.command_id)) == first
    assert system.caused_by(reset) == event_ids([first])
    assert {e["subject"] for e in system.events() if e["causationid"] == reset.command_id} == {old}


def test_a_redelivered_reset_for_an_unknown_address_has_no_effect(pair: Pair, names: Names) -> None:
    """The first decision stands, although a user registers the address later."""
    system, late = pair.system, str(uuid4())
    address = EmailAddress.parse(f"{names('a')}@example.com")
    command = c.RequestPasswordReset(str(uuid4()), token("reset"), in_an_hour(), address)
    reset = message(command, None)
    [first] = system.do(reset)
    assert (first.status, first.user_id) == (Status.ACCEPTED, None)
    system.do(message(register(names("a")), late))
    system.send(reset)
    system.quiet()
    assert system.user(late).password_reset is None
    assert system.caused_by(reset) == event_ids([first])


def exchange(session: str, old: str, new: str) -> c.RotateRefreshToken:
    """Create a command that exchanges one refresh token for the next."""
    return rotation(session, token(old), token(new), in_an_hour())


@pytest.mark.parametrize(
    ("factor", "codes"),
    [
        ({"totp_step": 1}, {RejectionCode.SECOND_FACTOR_REPLAYED}),
        (
            {"recovery_code_hash": token("code 0")},
            {RejectionCode.CODE_INVALID, RejectionCode.USER_LOCKED},
        ),
    ],
    ids=["one-time password", "recovery code"],
)
def test_a_second_factor_starts_one_session_on_two_workers(
    pair: Pair, names: Names, factor: dict[str, Any], codes: set[RejectionCode]
) -> None:
    """Twenty logins present the same factor at the same time; nineteen are rejected."""
    system, user = pair.system, str(uuid4())
    enable = c.EnableTwoFactor("c2VjcmV0", tuple(token(f"code {n}") for n in range(8)))
    system.do(message(register(names("a")), user))
    system.do(message(enable, user))
    sessions = [str(uuid4()) for _ in range(20)]
    logins = [
        message(start_session(session, token(session), in_an_hour(), **factor), user)
        for session in sessions
    ]

    outcomes = system.do(*logins)

    started = [each for each in outcomes if each.status is Status.ACCEPTED]
    assert len(started) == 1
    assert {each.code for each in outcomes} - {None} <= codes
    stored = system.load(sessions={(user, session) for session in sessions}).users[user]
    assert len(stored.sessions) == 1


def test_a_redelivered_rotation_is_not_reuse_but_a_stolen_token_is(
    pair: Pair, names: Names
) -> None:
    """The same command again changes nothing; a new command with the old token ends the session."""
    system, user, session = pair.system, str(uuid4()), str(uuid4())
    system.do(message(register(names("a")), user))
    started = start_session(session, token("first"), in_an_hour())
    rotated = message(exchange(session, "first", "second"), user)
    system.do(message(started, user))
    [outcome] = system.do(rotated)
    system.send(*[rotated] * 10)
    system.quiet()
    assert system.caused_by(rotated) == event_ids([outcome])
    assert system.user(user).version == 3
    system.do(message(exchange(session, "second", "third"), user))
    assert system.load(sessions={(user, session)}).users[user].sessions.keys() == {session}

    stolen = message(exchange(session, "first", "stolen"), user)
    [refused] = system.do(stolen)
    assert refused.code is RejectionCode.REFRESH_TOKEN_REUSED
    assert [event["type"] for event in system.published([refused])] == [
        "biome.user.RefreshTokenReuseDetected.v1",
        "biome.user.CommandRejected.v1",
    ]
    assert system.load(sessions={(user, session)}).users[user].sessions == {}
    [owner] = system.do(message(exchange(session, "third", "fourth"), user))
    assert owner.code is RejectionCode.SESSION_NOT_FOUND


# --- bans ----------------------------------------------------------------------------------


def test_a_banned_user_cannot_register_again_after_an_erasure(pair: Pair, names: Names) -> None:
    """With either worker, in any spelling, until the ban of the erased user ends."""
    system, ada, address = pair.system, str(uuid4()), names("banned")
    with pair.racing():
        outcomes = [
            *system.do(message(register(address), ada)),
            *system.do(message(c.BanUser("Spam"), ada)),
            *system.do(message(c.EraseUser(), ada)),
        ]
        assert statuses(outcomes) == [None, None, None]
        tries = [message(register(address.upper()), str(uuid4())) for _ in range(20)]
        assert set(statuses(system.do(*tries))) == {"EmailTaken"}
        assert statuses(system.do(message(c.UnbanUser(), ada))) == [None]
    address_hash = load_settings().hash_key_ring.address_hash(names.key("banned"))
    assert not system.load(banned={address_hash}).banned
    tombstone = system.user(ada)
    assert (tombstone.erased, tombstone.email, tombstone.ban) == (True, None, None)
