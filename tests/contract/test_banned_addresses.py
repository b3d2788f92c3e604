"""Contract of bans that outlive their users, for every store."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from application.repository import HELD, BannedAddress, Conflict, LoadRequest, UserChange
from tests.builders import NOW, email, uid
from tests.persistence import (
    BANNED,
    Store,
    commit,
    committed,
    erased,
    must_commit,
    outcome,
    pending,
    registered,
    scrub,
)


def banned(store: Store, *hashes: str) -> dict[str, BannedAddress]:
    """Read the bans of hashes."""
    return store.repository.load(LoadRequest(banned={*hashes})).banned


def owner(store: Store, name: str) -> str | None:
    """Read the owner of an address."""
    key = email(name).key
    return store.repository.load(LoadRequest(addresses={key})).addresses.get(key)


@pytest.mark.parametrize("until", [None, NOW + timedelta(microseconds=1_500_001)])
def test_a_ban_is_stored_by_the_hash_with_the_erasure(store: Store, until: datetime | None) -> None:
    """Its end is exact; a hash without a ban is absent."""
    ban = replace(BANNED, until=until)
    user = committed(store, "ada")
    must_commit(store, erased(user, ban))
    assert banned(store, ban.address_hash, "f" * 64) == {ban.address_hash: ban}
    tombstone = store.repository.get(uid("ada"))
    assert tombstone is not None
    assert tombstone.ban is not None
    assert (tombstone.ban.reason, tombstone.ban.until) == ("", until)
    assert tombstone.ban.address_hash == ban.address_hash


def test_the_address_is_held_until_it_is_released(store: Store) -> None:
    """It has no owner and is not free; the scrub job has the address."""
    user = committed(store, "ada")
    must_commit(store, erased(user, BANNED))
    assert owner(store, "ada") == HELD
    assert store.repository.get_by_email(email("ada")) is None
    assert commit(store, registered("eve", "ada")).conflicts == {0: Conflict.ADDRESS_TAKEN}
    (job,) = [entry for entry in pending(store) if entry.address is not None]
    assert job.address == email("ada").key
    assert email("ada").key not in repr(job)
    scrub(store.outbox, uid("ada"))
    assert owner(store, "ada") == HELD
    store.outbox.release(uid("ada"), email("ada").key)
    assert owner(store, "ada") is None
    must_commit(store, registered("eve", "ada"))


def test_a_release_frees_no_address_of_another_user(store: Store) -> None:
    """A relay may repeat it after the address has a new owner."""
    user = committed(store, "ada")
    must_commit(store, erased(user, BANNED))
    store.outbox.release(uid("eve"), email("ada").key)
    assert owner(store, "ada") == HELD
    for _ in range(2):
        store.outbox.release(uid("ada"), email("ada").key)
    must_commit(store, registered("eve", "ada"))
    store.outbox.release(uid("ada"), email("ada").key)
    assert owner(store, "ada") == uid("eve")


def test_an_address_is_held_only_for_its_owner(store: Store) -> None:
    """As an address is released only by its owner."""
    user = committed(store, "ada")
    committed(store, "eve")
    change = replace(erased(user, BANNED), held=email("eve"))
    assert commit(store, change).conflicts == {0: Conflict.ADDRESS_TAKEN}
    assert owner(store, "eve") == uid("eve")
    assert not banned(store, BANNED.address_hash)


def test_a_later_ban_replaces_one_for_the_same_hash(store: Store) -> None:
    """The earlier one has expired, and DynamoDB may not have deleted it yet."""
    must_commit(store, erased(committed(store, "ada"), BANNED))
    later = BannedAddress(BANNED.address_hash, uid("eve"), None)
    must_commit(store, erased(committed(store, "eve"), later))
    assert banned(store, BANNED.address_hash) == {BANNED.address_hash: later}


def test_a_ban_is_deleted_with_the_change_that_ends_it(store: Store) -> None:
    """Deleting it twice, or after DynamoDB has, is no conflict."""
    must_commit(store, erased(committed(store, "ada"), BANNED))
    for number in (2, 3):
        tombstone = store.repository.get(uid("ada"))
        assert tombstone is not None
        change = UserChange(
            uid("ada"),
            (outcome(f"unban {number}", "ada", version=number + 1),),
            number,
            replace(tombstone, version=number + 1, ban=None),
            unbanned=BANNED.address_hash,
        )
        must_commit(store, change)
        assert not banned(store, BANNED.address_hash)


def test_a_final_scrub_keeps_the_address_to_release(store: Store) -> None:
    """An entry keeps it when a relay stores its progress, and when it is parked."""
    must_commit(store, erased(committed(store, "ada"), BANNED))
    (job,) = [entry for entry in pending(store) if entry.address is not None]
    touched = replace(job, touched_at=NOW, attempts=1)
    assert store.outbox.update(job, touched)
    assert touched in pending(store)
