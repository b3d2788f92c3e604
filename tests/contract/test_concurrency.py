"""Contract of commits by concurrent writers."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from application.repository import CommitReport, Conflict, LoadRequest, UserChange
from tests.builders import NOW, email, uid
from tests.persistence import (
    Store,
    committed,
    moved,
    pending,
    registered,
    renamed,
)


def at_once(count: int, work: Callable[[int], CommitReport]) -> list[CommitReport]:
    """Run the same function in several threads."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


def insist(store: Store, decide: Callable[[], UserChange]) -> CommitReport:
    """Decide again until there is no conflict, as the worker does."""
    for _ in range(200):
        report = store.repository.commit([decide()], NOW)
        if not report.conflicts:
            return report
    pytest.fail("no end of conflicts")


def test_an_address_that_many_claim_at_once_goes_to_one(concurrent_store: Store) -> None:
    """One user, one owner, one entry; the other nineteen get a conflict."""
    store = concurrent_store

    def claim(n: int) -> CommitReport:
        change = registered(f"user{n}", "wanted")
        report = store.repository.commit([change], NOW)
        while report.conflicts.get(0) is Conflict.CONTENTION:
            report = store.repository.commit([change], NOW)
        return report

    reports = at_once(20, claim)
    winners = [n for n, report in enumerate(reports) if not report.conflicts]
    assert len(winners) == 1
    assert [report.conflicts.get(0) for report in reports].count(Conflict.ADDRESS_TAKEN) == 19
    assert not any(report.failures for report in reports)
    owner = store.repository.get_by_email(email("wanted"))
    assert owner is not None
    assert owner.user_id == uid(f"user{winners[0]}")
    users = store.repository.get_many([uid(f"user{n}") for n in range(20)])
    assert users.keys() == {owner.user_id}
    assert len(pending(store)) == 1


def test_concurrent_updates_of_a_user_lose_none(concurrent_store: Store) -> None:
    """Every update has its own version, without gaps."""
    store = concurrent_store
    committed(store, "ada")

    def rename(n: int) -> CommitReport:
        def decide() -> UserChange:
            ada = store.repository.get(uid("ada"))
            assert ada is not None
            return renamed(ada, f"Name {n}", f"rename {n}")

        return insist(store, decide)

    at_once(12, rename)
    ada = store.repository.get(uid("ada"))
    assert ada is not None
    assert ada.version == 13
    history = store.repository.history(uid("ada"))
    assert [decided.version for decided in history] == list(range(13, 0, -1))


def test_one_command_decided_many_times_at_once_is_recorded_once(concurrent_store: Store) -> None:
    """All other deliveries are duplicates."""
    store = concurrent_store
    committed(store, "ada")

    def deliver(n: int) -> CommitReport:
        for _ in range(200):
            ada = store.repository.get(uid("ada"))
            assert ada is not None
            report = store.repository.commit([renamed(ada, f"Name {n}", "the command")], NOW)
            if report.conflicts.get(0) not in {Conflict.STALE, Conflict.CONTENTION}:
                return report
        pytest.fail("no end of conflicts")

    reports = at_once(10, deliver)
    assert [bool(report.conflicts) for report in reports].count(False) == 1
    ada = store.repository.get(uid("ada"))
    assert ada is not None
    assert ada.version == 2


def test_batches_that_overlap_commit_every_change_once(concurrent_store: Store) -> None:
    """Ten writers with ten changes each, one of them shared: 91 users, one owner each."""
    store = concurrent_store

    def write(n: int) -> CommitReport:
        changes = [registered(f"user{n}x{m}") for m in range(9)]
        shared = registered(f"shared{n}", "shared")
        report = store.repository.commit([*changes, shared], NOW)
        assert report.conflicts.keys() <= {9}
        return report

    reports = at_once(10, write)
    assert sum(not report.conflicts for report in reports) == 1
    names = [f"user{n}x{m}" for n in range(10) for m in range(9)]
    assert len(store.repository.get_many([uid(name) for name in names])) == 90


def test_users_that_trade_addresses_never_share_one(concurrent_store: Store) -> None:
    """Four users move among three free addresses at once; each address has at most one owner."""
    store = concurrent_store
    for name in ("a", "b", "c", "d"):
        committed(store, name)
    addresses = ["a", "b", "c", "d", "x", "y", "z"]

    def trade(n: int) -> CommitReport:
        report = CommitReport(())
        for step in range(6):
            user = store.repository.get(uid("abcd"[n]))
            assert user is not None
            wanted = addresses[(n * 3 + step * 5) % len(addresses)]
            if user.email == email(wanted):
                continue
            change = moved(user, wanted)
            decided = replace(change.outcomes[0], command_id=uid(f"{n} {step}"))
            report = store.repository.commit([replace(change, outcomes=(decided,))], NOW)
            assert not report.failures
        return report

    at_once(4, trade)
    users = store.repository.get_many([uid(name) for name in "abcd"])
    owned = store.repository.load(
        LoadRequest(addresses={email(name).key for name in addresses})
    ).addresses
    assert owned == {user.email.key: user.user_id for user in users.values() if user.email}
    assert len(owned) == 4
