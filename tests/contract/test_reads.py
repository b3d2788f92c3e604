"""Contract of the reading methods, for every store."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from application.ports import CommandKey
from application.repository import LoadRequest, Outcome, UserChange
from tests.builders import NOW, email, uid
from tests.persistence import (
    Store,
    committed,
    keys_of,
    load_user,
    moved,
    must_commit,
    outcome,
    registered,
    renamed,
    session,
    two_factor,
)


def test_what_is_not_stored_is_absent(store: Store) -> None:
    """An item that is not stored is not invented."""
    nobody = uid("nobody")
    request = LoadRequest(
        users={nobody},
        sessions={(nobody, uid("session"))},
        two_factors={nobody},
        addresses={"nobody@example.com"},
        outcomes={CommandKey(nobody, uid("command")), CommandKey(None, uid("command"))},
    )
    snapshot = store.repository.load(request)
    assert (snapshot.users, snapshot.addresses, snapshot.outcomes) == ({}, {}, {})
    assert store.repository.get(nobody) is None
    assert store.repository.get_many([nobody]) == {}
    assert store.repository.get_by_email(email("nobody")) is None
    assert store.repository.history(nobody) == []
    assert store.repository.outcome_page(nobody, 10) == ([], None)
    assert store.repository.outcome(CommandKey(nobody, uid("command"))) is None


def test_an_empty_request_loads_nothing(store: Store) -> None:
    """A round may need no items."""
    assert store.repository.load(LoadRequest()).users == {}


def test_get_many_gives_those_that_exist(store: Store) -> None:
    """By id, each once, even if requested twice."""
    ada, grace = committed(store, "ada"), committed(store, "grace")
    found = store.repository.get_many([uid("ada"), uid("grace"), uid("nobody"), uid("ada")])
    assert found == {uid("ada"): ada, uid("grace"): grace}


def test_more_than_a_hundred_items_are_loaded(store: Store) -> None:
    """The limit of one call does not limit a request."""
    changes = [registered(f"user{n}") for n in range(35)]
    must_commit(store, *changes)
    request = LoadRequest(
        users={uid(f"user{n}") for n in range(35)},
        addresses={f"user{n}@example.com" for n in range(35)},
        outcomes=keys_of(*changes),
    )
    snapshot = store.repository.load(request)
    assert snapshot.users.keys() == request.users
    assert snapshot.addresses.keys() == request.addresses
    assert snapshot.outcomes.keys() == request.outcomes


def test_what_is_read_is_the_readers_own(store: Store) -> None:
    """Changing the result changes neither the store nor the argument."""
    change = registered("ada")
    must_commit(store, change)
    assert change.user is not None
    change.user.first_name = "changed afterwards"
    read = load_user(store, "ada")
    read.last_name = "changed"
    read.sessions[uid("session phone")] = session("phone")
    stored = store.repository.outcome(next(iter(keys_of(change))))
    assert stored is not None
    stored.events[0].data["email"] = "changed"
    again = load_user(store, "ada", "phone")
    assert (again.first_name, again.last_name, again.sessions) == ("Ada", "Lovelace", {})
    assert store.repository.outcome(next(iter(keys_of(change)))) == change.outcomes[0]


def test_only_the_parts_asked_for_are_loaded(store: Store) -> None:
    """A session or second factor that no command names is not read."""
    ada = committed(store, "ada")
    saved = (session("phone"), session("tablet"))
    must_commit(store, replace(renamed(ada), saved_sessions=saved, saved_two_factor=two_factor()))
    with_phone = store.repository.load(
        LoadRequest(sessions={(uid("ada"), uid("session phone"))})
    ).users[uid("ada")]
    assert with_phone.sessions.keys() == {uid("session phone")}
    assert with_phone.two_factor is None
    with_factor = store.repository.load(LoadRequest(two_factors={uid("ada")})).users[uid("ada")]
    assert with_factor.sessions == {}
    assert with_factor.two_factor == two_factor(revision=1)


def test_an_address_finds_its_present_owner(store: Store) -> None:
    """In any spelling, and at once after a change."""
    ada = committed(store, "ada")
    assert store.repository.get_by_email(email("ADA")) == ada
    must_commit(store, moved(ada, "countess"), registered("grace", "ada"))
    found = store.repository.get_by_email(email("ada"))
    assert found is not None
    assert found.user_id == uid("grace")


def test_the_live_sessions_of_a_user_keep_their_order(store: Store) -> None:
    """The oldest is the first to end; times are stored in whole seconds."""
    ada = committed(store, "ada")
    listed = {uid(name): NOW + timedelta(seconds=n + 0.5) for n, name in enumerate("cab")}
    change = renamed(replace(ada, live_sessions=listed))
    must_commit(store, change)
    stored = load_user(store, "ada").live_sessions
    assert list(stored) == list(listed)
    assert list(stored.values()) == [NOW + timedelta(seconds=n) for n in range(3)]


def test_history_is_latest_first_and_of_one_user(store: Store) -> None:
    """Whatever the order of the command ids, and at most `limit`."""
    must_commit(store, registered("ada"), registered("grace"))
    decided = [
        replace(outcome(f"command {n}", "ada"), recorded_at=NOW + timedelta(seconds=n))
        for n in range(1, 8)
    ]
    for each in (decided[3], decided[6], *decided[:3], *decided[4:6]):
        must_commit(store, UserChange(uid("ada"), (each,)))
    history = store.repository.history(uid("ada"))
    assert history[:7] == decided[::-1]
    assert history[7].command_id == uid("register ada")
    assert len(history) == 8
    assert store.repository.history(uid("ada"), limit=2) == decided[:-3:-1]
    pages: list[Outcome] = []
    while page := store.repository.history(uid("ada"), 3, pages[-1] if pages else None):
        pages += page
    assert pages == history


TIMED = [f"0{prefix}000000-0000-7000-8000-00000000000{n}" for prefix in (19, 20) for n in range(3)]
"""Ids that are UUIDv7, oldest first."""
RANDOM = [f"{prefix}000000-0000-4000-8000-000000000000" for prefix in ("03", "50", "a0", "ff")]


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 10, 11])
def test_pages_of_outcomes_are_newest_first_if_their_ids_are_uuidv7(
    store: Store, size: int
) -> None:
    """Ids without time follow after all others; no page is longer than asked for."""
    for number, command_id in enumerate([*RANDOM, *TIMED]):
        for name in ("ada", "grace"):
            decided = replace(outcome(f"command {number}", name), command_id=command_id, events=())
            must_commit(store, UserChange(uid(name), (decided,)))
    pages: list[list[str]] = []
    last: str | None = None
    while not pages or last is not None:
        page = store.repository.outcome_page(uid("ada"), size, last)
        assert {each.user_id for each in page.outcomes} == {uid("ada")}
        pages.append([each.command_id for each in page.outcomes])
        last = page.last
    assert [each for page in pages for each in page] == [*TIMED[::-1], *RANDOM[::-1]]
    assert {len(page) for page in pages[:-1]} <= {size}
    assert 0 < len(pages[-1]) <= size


def test_a_page_of_outcomes_continues_after_an_outcome_that_has_expired(store: Store) -> None:
    """Outcomes are deleted at any time."""
    decided = [replace(outcome(f"{n}", "ada"), command_id=TIMED[n]) for n in (0, 2)]
    for each in decided:
        must_commit(store, UserChange(uid("ada"), (each,)))
    assert store.repository.outcome_page(uid("ada"), 5, TIMED[1]) == (decided[:1], None)
    assert store.repository.outcome_page(uid("ada"), 5, TIMED[0]) == ([], None)
