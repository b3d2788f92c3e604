"""Contract of the client's reader, for every DynamoDB in which the worker stores users."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from biome_users import LoginReader, SessionRefusal
from domain.sessions import Session
from domain.user import User
from domain.values import TokenHash
from tests.builders import NOW, PASSWORD, token, uid
from tests.contract.conftest import REAL
from tests.persistence import (
    Store,
    committed,
    load_user,
    moved,
    must_commit,
    registered,
    renamed,
    session,
)

NULL_OBSERVER = uid("nobody")


@pytest.fixture(params=["in_process", "moto", REAL])
def store(request: pytest.FixtureRequest) -> Store:
    """Each store that is a table."""
    found: Store = request.getfixturevalue(request.param)
    return found


def reader_of(store: Store, **options: Any) -> LoginReader:
    """Create a reader of the table of a store."""
    reads: Any = store.repository
    return LoginReader(reads._reads._table, client=reads._reads._client, **options)


@pytest.fixture
def reader(store: Store) -> LoginReader:
    """Create a reader of the store, at NOW."""
    return reader_of(store, clock=lambda: NOW)


def saved(store: Store, user: User, *sessions: Session) -> User:
    """Store a user with one version more, with sessions; return the stored user."""
    change = renamed(user)
    assert change.user is not None
    must_commit(store, replace(change, saved_sessions=sessions))
    return change.user


def with_phone(store: Store) -> None:
    """Register Ada, with a session on her phone whose token was exchanged once, at NOW."""
    ada = committed(store, "ada")
    phone = session("phone", used=1)
    saved(store, replace(ada, live_sessions={phone.session_id: phone.expires_at}), phone)


def test_an_unknown_user_is_none_and_has_no_session(store: Store, reader: LoginReader) -> None:
    """Unknown users and sessions are not invented; the check of an unknown session fails."""
    assert reader.get(NULL_OBSERVER) is None
    assert reader.get_many([NULL_OBSERVER]) == {}
    assert reader.get_many([]) == {}
    assert reader.by_email("nobody@example.com") is None
    assert reader.by_refresh_token("0" * 64, "1" * 64) is None
    check = reader.check_session(NULL_OBSERVER, uid("session phone"))
    assert (check.refusal, check.user, check.expires_at) == (
        SessionRefusal.USER_NOT_FOUND,
        None,
        None,
    )
    assert not check


def test_a_user_is_shown_as_stored(store: Store, reader: LoginReader) -> None:
    """With everything a login needs, by id in either case and by address in any spelling."""
    until = NOW + timedelta(hours=1)
    ada = replace(committed(store, "ada"), locked_until=until, two_factor_enabled=True)
    saved(store, ada)
    view = reader.get(uid("ada").upper())
    assert view is not None
    assert (view.user_id, view.version, view.email) == (uid("ada"), 2, "ada@example.com")
    assert (view.password_hash, view.credential_version) == (PASSWORD.value, 1)
    assert (view.locked_until, view.two_factor_enabled) == (until, True)
    assert (view.banned, view.deactivated, view.erased) == (False, False, False)
    assert reader.by_email(" ADA@Example.com ") == view


def test_many_are_read_by_id(store: Store, reader: LoginReader) -> None:
    """In the order requested, each once, without unknown ids."""
    must_commit(store, *(registered(f"user{n}") for n in range(12)))
    wanted = [uid(f"user{n}") for n in range(12)]
    found = reader.get_many([*reversed(wanted), NULL_OBSERVER, wanted[0]])
    assert list(found) == wanted[::-1]
    assert all(user_id == view.user_id for user_id, view in found.items())


def test_an_address_is_its_present_owners(store: Store, reader: LoginReader) -> None:
    """At once after the owner has changed."""
    ada = committed(store, "ada")
    must_commit(store, moved(ada, "countess"), registered("grace", "ada"))
    owners = [reader.by_email(f"{name}@example.com") for name in ("ada", "countess")]
    assert [owner and owner.user_id for owner in owners] == [uid("grace"), uid("ada")]


def test_a_session_is_good_until_it_expires(store: Store, reader: LoginReader) -> None:
    """The result has the expiry and the user."""
    with_phone(store)
    check = reader.check_session(uid("ada"), uid("session phone"))
    assert check.good
    assert check.expires_at == NOW + timedelta(days=30)
    assert check.user == reader.get(uid("ada"))
    assert reader.session_is_good(uid("ada"), uid("session phone"))
    late = reader_of(store, clock=lambda: NOW + timedelta(days=30))
    refusal = late.check_session(uid("ada"), uid("session phone")).refusal
    assert refusal is SessionRefusal.SESSION_EXPIRED


def test_no_session_and_another_users_session_are_not_good(
    store: Store, reader: LoginReader
) -> None:
    """A session id alone is not sufficient."""
    with_phone(store)
    committed(store, "grace")
    for user, name in (("ada", "tablet"), ("grace", "phone")):
        refusal = reader.check_session(uid(user), uid(f"session {name}")).refusal
        assert refusal is SessionRefusal.SESSION_NOT_FOUND


def test_a_session_that_is_not_listed_has_ended(store: Store, reader: LoginReader) -> None:
    """Although its item is unchanged."""
    with_phone(store)
    saved(store, replace(load_user(store, "ada"), live_sessions={}))
    refusal = reader.check_session(uid("ada"), uid("session phone")).refusal
    assert refusal is SessionRefusal.SESSION_ENDED
    assert reader.sessions(uid("ada")) == []


def test_the_sessions_of_a_user_are_listed(store: Store, reader: LoginReader) -> None:
    """Oldest first, without those that have expired or that are not stored."""
    assert reader.sessions(uid("ada")) == []
    ada = committed(store, "ada")
    assert reader.sessions(uid("ada")) == []
    phone, laptop = (
        replace(session(name), methods=("pwd", "otp"), started_at=NOW, last_used_at=NOW)
        for name in ("phone", "laptop")
    )
    old = replace(session("old"), expires_at=NOW)
    names = (old, phone, session("lost"), laptop)
    live = {each.session_id: each.expires_at for each in names}
    saved(store, replace(ada, live_sessions=live), laptop, phone, old)
    found = reader.sessions(uid("ada"))
    assert [each.session_id for each in found] == [phone.session_id, laptop.session_id]
    assert found[0].methods == ("pwd", "otp")
    assert (found[0].started_at, found[0].last_used_at) == (NOW, NOW)
    assert found[0].expires_at == phone.expires_at


FAMILY = token("phone family")
PRESENTED: list[tuple[TokenHash, TokenHash, SessionRefusal | None]] = [
    (FAMILY, token("phone 1"), None),
    (FAMILY, TokenHash(token("phone 1").value.upper()), None),
    (FAMILY, token("phone 0"), None),
    (FAMILY, token("phone 2"), SessionRefusal.REFRESH_TOKEN_REUSED),
    (token("tablet family"), token("phone 1"), SessionRefusal.REFRESH_TOKEN_UNKNOWN),
    (TokenHash(FAMILY.stored), token("phone 1"), SessionRefusal.REFRESH_TOKEN_UNKNOWN),
    (FAMILY, TokenHash(token("phone 1").stored), SessionRefusal.REFRESH_TOKEN_REUSED),
]
"""Live, the same in capitals, just replaced, unknown, of another family, and what a leaked table
shows."""


def test_a_session_has_to_accept_the_token(store: Store, reader: LoginReader) -> None:
    """A token that leaked from the table is not accepted."""
    with_phone(store)
    for family, part, refusal in PRESENTED:
        check = reader.check_token(uid("ada"), uid("session phone"), family.value, part.value)
        assert check.refusal is refusal


def test_a_replaced_token_is_accepted_within_the_leeway(store: Store) -> None:
    """The reader's leeway is that of the workers."""
    with_phone(store)
    hashes = FAMILY.value, token("phone 0").value

    def refusal(seconds: int, leeway: int) -> SessionRefusal | None:
        reader = reader_of(
            store,
            clock=lambda: NOW + timedelta(seconds=seconds),
            refresh_leeway=timedelta(seconds=leeway),
        )
        return reader.check_token(uid("ada"), uid("session phone"), *hashes).refusal

    reused = SessionRefusal.REFRESH_TOKEN_REUSED
    assert [refusal(s, 10) for s in (0, 9, 10, 99)] == [None, None, reused, reused]
    assert [refusal(s, 0) for s in (0, 1)] == [reused, reused]


def test_a_token_alone_finds_its_session(store: Store, reader: LoginReader) -> None:
    """By its family; the stored hash finds nothing."""
    with_phone(store)
    check = reader.by_refresh_token(FAMILY.value, token("phone 1").value)
    assert check
    assert (check.user_id, check.session_id) == (uid("ada"), uid("session phone"))
    used = reader.by_refresh_token(FAMILY.value, token("phone 5").value)
    assert used is not None
    assert used.refusal is SessionRefusal.REFRESH_TOKEN_REUSED
    assert reader.by_refresh_token(FAMILY.stored, token("phone 1").value) is None
    saved(store, replace(load_user(store, "ada"), live_sessions={}))
    ended = reader.by_refresh_token(FAMILY.value, token("phone 1").value)
    assert ended is not None
    assert ended.refusal is SessionRefusal.SESSION_ENDED
