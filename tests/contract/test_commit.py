"""Contract of `UserRepository.commit`, for every store."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from adapters.errors import ItemRefusedError
from application.ports import CommandKey, JobKind
from application.repository import Conflict, LoadRequest, UserChange
from domain.errors import RejectionCode
from tests.builders import NOW, email, uid
from tests.persistence import (
    Store,
    commit,
    committed,
    keys_of,
    load_user,
    moved,
    must_commit,
    new_user,
    outcome,
    pending,
    registered,
    renamed,
    session,
    two_factor,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def test_state_outcome_address_and_pointer_commit_together(store: Store) -> None:
    """A registration stores user, outcome and address, and one outbox entry names it."""
    change = registered("ada")
    report = must_commit(store, change)
    snapshot = store.repository.load(
        LoadRequest(users={uid("ada")}, addresses={"ada@example.com"}, outcomes=keys_of(change))
    )
    assert snapshot.users == {uid("ada"): new_user("ada")}
    assert snapshot.addresses == {"ada@example.com": uid("ada")}
    assert list(snapshot.outcomes.values()) == list(change.outcomes)
    assert pending(store) == list(report.entries)
    assert [set(entry.commands) for entry in report.entries] == [keys_of(change)]
    assert report.entries[0].kind is JobKind.PUBLISH


def test_a_rejection_is_recorded_without_touching_the_user(store: Store) -> None:
    """Without a change of state, only the outcome is written."""
    user = committed(store, "ada")
    refused = outcome("refused", "ada", code=RejectionCode.TOKEN_INVALID)
    must_commit(store, UserChange(uid("ada"), (refused,), 1))
    assert store.repository.get(uid("ada")) == user
    assert store.repository.outcome(CommandKey(uid("ada"), uid("refused"))) == refused


def test_a_rejection_for_an_unknown_user_is_recorded(store: Store) -> None:
    """A command for a user who does not exist has an outcome, and creates no user."""
    refused = outcome("refused", "nobody", version=0, code=RejectionCode.USER_NOT_FOUND)
    must_commit(store, UserChange(uid("nobody"), (refused,)))
    assert store.repository.get(uid("nobody")) is None
    assert store.repository.outcome(CommandKey(uid("nobody"), uid("refused"))) == refused


def test_a_command_by_address_leaves_a_second_record_without_events(store: Store) -> None:
    """A redelivery is recognised by its id alone, whoever has the address by then."""
    change = registered("ada")
    by_email = replace(change.outcomes[0], by_email=True)
    must_commit(store, replace(change, outcomes=(by_email,)))
    assert store.repository.outcome(CommandKey(uid("ada"), by_email.command_id)) == by_email
    reference = store.repository.outcome(CommandKey(None, by_email.command_id))
    assert reference == by_email.reference()


def test_a_command_by_an_unknown_address_is_recorded_by_its_id(store: Store) -> None:
    """Its outcome has no user, and keeps its events."""
    event = registered("ada").outcomes[0].events[0]
    alone = outcome("reset", None, event, version=0, by_email=True)
    report = must_commit(store, UserChange(None, (alone,)))
    assert store.repository.outcome(CommandKey(None, uid("reset"))) == alone
    named = store.outbox.outcomes(report.entries)
    assert named.found == {CommandKey(None, uid("reset")): alone}


@pytest.mark.parametrize("known_by", ["user", "id alone"])
def test_a_second_outcome_of_a_command_is_a_duplicate(store: Store, known_by: str) -> None:
    """No command is recorded twice, whether by user id or by address."""
    first = registered("ada")
    by_email = replace(first.outcomes[0], by_email=True)
    must_commit(store, replace(first, outcomes=(by_email,)))
    if known_by == "user":
        again = renamed(new_user("ada"), command="register ada")
    else:  # the address belongs to another user by now
        again = replace(registered("grace"), outcomes=(replace(by_email, user_id=uid("grace")),))
    assert commit(store, again).conflicts == {0: Conflict.DUPLICATE}
    assert store.repository.get(uid("ada")) == new_user("ada")
    assert store.repository.get(uid("grace")) is None


def test_a_duplicate_counts_before_all_other_conflicts(store: Store) -> None:
    """A redelivered registration is a duplicate, although its user and address exist too."""
    must_commit(store, registered("ada"))
    assert commit(store, registered("ada")).conflicts == {0: Conflict.DUPLICATE}


@pytest.mark.parametrize("read_version", [0, 1, 3])
def test_an_old_version_is_stale(store: Store, read_version: int) -> None:
    """A user is replaced only by a change based on the stored version."""
    user = committed(store, "ada")
    must_commit(store, renamed(user))
    again = replace(renamed(user, "Mary", command="other"), read_version=read_version)
    assert commit(store, again).conflicts == {0: Conflict.STALE}
    assert store.repository.outcome(CommandKey(uid("ada"), uid("other"))) is None
    stored = store.repository.get(uid("ada"))
    assert stored is not None
    assert stored.first_name == "Grace"


def test_an_update_of_an_unknown_user_is_stale(store: Store) -> None:
    """A user who no longer exists is not created again."""
    assert commit(store, renamed(new_user("ada"))).conflicts == {0: Conflict.STALE}
    assert store.repository.get(uid("ada")) is None


def test_a_taken_address_is_refused_whole(store: Store) -> None:
    """If the address is taken, in any spelling, nothing of the change is stored."""
    must_commit(store, registered("ada"))
    change = registered("grace", "ADA")
    report = commit(store, change)
    assert report.conflicts == {0: Conflict.ADDRESS_TAKEN}
    assert report.entries == ()
    assert store.repository.get(uid("grace")) is None
    assert store.repository.outcome(next(iter(keys_of(change)))) is None


def test_only_ones_own_address_is_released(store: Store) -> None:
    """A user can release neither another user's address nor one that no user has."""
    ada = committed(store, "ada")
    must_commit(store, registered("grace"))
    for address in ("grace", "nobody"):
        change = replace(renamed(ada), released=email(address))
        assert commit(store, change).conflicts == {0: Conflict.ADDRESS_TAKEN}
    assert store.repository.get_by_email(email("grace")) is not None


def test_a_moved_user_frees_the_old_address(store: Store) -> None:
    """The new address belongs to the user; the old one is free."""
    must_commit(store, moved(committed(store, "ada"), "countess"))
    found = store.repository.get_by_email(email("countess"))
    assert found is not None
    assert found.user_id == uid("ada")
    assert store.repository.get_by_email(email("ada")) is None
    must_commit(store, registered("grace", "ada"))


def test_another_spelling_of_the_own_address_is_not_a_conflict(store: Store) -> None:
    """The address item does not change; only the user's spelling does."""
    must_commit(store, moved(committed(store, "ada"), "ADA"))
    found = store.repository.get_by_email(email("ada"))
    assert found is not None
    assert found.email == email("ADA")


def test_an_address_freed_in_a_commit_can_be_taken_in_the_same(store: Store) -> None:
    """Changes of one commit apply in order, even if they concern one address."""
    ada = committed(store, "ada")
    must_commit(store, moved(ada, "countess"), registered("grace", "ada"))
    found = store.repository.get_by_email(email("ada"))
    assert found is not None
    assert found.user_id == uid("grace")


def test_a_swap_of_addresses_never_leaves_one_with_two_owners(store: Store) -> None:
    """Neither change can be first: both are refused, and every user keeps the address."""
    ada, grace = committed(store, "ada"), committed(store, "grace")
    report = commit(store, moved(ada, "grace"), moved(grace, "ada"))
    assert report.conflicts == {0: Conflict.ADDRESS_TAKEN, 1: Conflict.ADDRESS_TAKEN}
    for name in ("ada", "grace"):
        found = store.repository.get_by_email(email(name))
        assert found is not None
        assert found.user_id == uid(name)


def test_two_changes_of_one_user_in_a_commit_apply_once(store: Store) -> None:
    """The second change is based on a version that no longer exists."""
    ada = committed(store, "ada")
    report = commit(store, renamed(ada, "Grace", "one"), renamed(ada, "Mary", "two"))
    assert report.conflicts == {1: Conflict.STALE}
    stored = store.repository.get(uid("ada"))
    assert stored is not None
    assert (stored.version, stored.first_name) == (2, "Grace")


def test_a_conflict_does_not_stop_the_others(store: Store) -> None:
    """Changes without a conflict are committed, and the entries name exactly those."""
    ada = committed(store, "ada")
    must_commit(store, renamed(ada))
    changes = [registered(f"user {n}".replace(" ", "")) for n in range(6)]
    changes[1] = registered("other", "ada")
    changes[3] = renamed(ada, command="stale")
    changes[4] = registered("ada")
    report = commit(store, *changes)
    assert report.conflicts == {
        1: Conflict.ADDRESS_TAKEN,
        3: Conflict.STALE,
        4: Conflict.DUPLICATE,
    }
    assert not report.failures
    named = [key for entry in report.entries for key in entry.commands]
    assert set(named) == keys_of(changes[0], changes[2], changes[5])
    assert len(named) == 3
    assert store.repository.get(uid("user5")) is not None


def test_many_changes_commit_whole_with_every_command_named_once(store: Store) -> None:
    """More than fit into one transaction are divided, and none is lost."""
    changes = [registered(f"user{n}") for n in range(35)]  # 3 items each: more than 100
    report = must_commit(store, *changes)
    named = [key for entry in report.entries for key in entry.commands]
    assert len(named) == 35
    assert set(named) == keys_of(*changes)
    users = store.repository.get_many([uid(f"user{n}") for n in range(35)])
    assert len(users) == 35


@pytest.mark.parametrize("what", ["outcome", "session"])
def test_a_change_that_writes_an_item_twice_is_refused_whole(store: Store, what: str) -> None:
    """Such a change is a bug, and it is undefined which of the two writes would win."""
    grace = registered("grace")
    twice = registered("ada")
    if what == "outcome":
        twice = replace(twice, outcomes=twice.outcomes * 2)
    else:
        twice = replace(twice, saved_sessions=(session("phone"), session("phone", used=1)))
    report = commit(store, twice, grace)
    assert isinstance(report.failures[0], ItemRefusedError)
    assert not report.conflicts
    assert list(report.failures) == [0]
    assert store.repository.get(uid("ada")) is None
    assert store.repository.outcome(next(iter(keys_of(twice)))) is None
    assert store.repository.get(uid("grace")) == grace.user
    assert {key for p in pending(store) for key in p.commands} == keys_of(grace)


def test_nothing_to_commit_leaves_no_pointer(store: Store) -> None:
    """An empty commit writes no entry."""
    assert commit(store).entries == ()
    assert pending(store) == []


# --- sessions and second factor ------------------------------------------------------------


def test_a_session_lives_apart_from_the_user(store: Store) -> None:
    """It is read only if requested, with the revision it was stored with."""
    ada = committed(store, "ada")
    must_commit(store, replace(renamed(ada), saved_sessions=(session("phone"),)))
    stored = load_user(store, "ada", "phone", "tablet")
    assert stored.sessions == {uid("session phone"): session("phone", revision=1)}
    alone = store.repository.get(uid("ada"))
    assert alone is not None
    assert alone.sessions == {}


@pytest.mark.parametrize("revision", [0, 1, 3])
def test_a_session_read_at_another_revision_is_stale(store: Store, revision: int) -> None:
    """Two rotations of one session are never both committed."""
    ada = committed(store, "ada")
    must_commit(store, replace(renamed(ada), saved_sessions=(session("phone"),)))
    ada = load_user(store, "ada")
    must_commit(
        store, replace(renamed(ada), saved_sessions=(session("phone", revision=1, used=1),))
    )
    ada = load_user(store, "ada")
    again = session("phone", revision=revision, used=2)
    for change in (
        replace(renamed(ada), saved_sessions=(again,)),
        replace(renamed(ada), removed_sessions=(session("phone", revision=revision or 7),)),
    ):
        assert commit(store, change).conflicts == {0: Conflict.STALE}
    stored = load_user(store, "ada", "phone")
    assert stored.sessions[uid("session phone")].revision == 2
    assert stored.version == ada.version


def test_a_removed_session_is_deleted(store: Store) -> None:
    """Removing needs the stored revision; a session that was never stored needs no removal."""
    ada = committed(store, "ada")
    must_commit(store, replace(renamed(ada), saved_sessions=(session("phone"),)))
    removed = (session("phone", revision=1), session("never stored"))
    must_commit(store, replace(renamed(load_user(store, "ada")), removed_sessions=removed))
    assert load_user(store, "ada", "phone").sessions == {}


def test_a_second_factor_is_saved_changed_and_removed_by_its_revision(store: Store) -> None:
    """By its revision, like a session."""
    ada = committed(store, "ada")
    must_commit(store, replace(renamed(ada), saved_two_factor=two_factor()))
    ada = load_user(store, "ada")
    assert ada.two_factor == two_factor(revision=1)
    stale = replace(renamed(ada), saved_two_factor=two_factor())
    assert commit(store, stale).conflicts == {0: Conflict.STALE}
    must_commit(store, replace(renamed(ada), saved_two_factor=two_factor(revision=1)))
    ada = load_user(store, "ada")
    stale = replace(renamed(ada), removed_two_factor=two_factor(revision=1))
    assert commit(store, stale).conflicts == {0: Conflict.STALE}
    must_commit(store, replace(renamed(ada), removed_two_factor=two_factor(revision=2)))
    assert load_user(store, "ada").two_factor is None


@pytest.mark.parametrize(
    "expires_at", [datetime.min.replace(tzinfo=UTC), EPOCH - timedelta(days=1), EPOCH]
)
def test_a_session_that_ended_long_ago_can_be_read_again(
    store: Store, expires_at: datetime
) -> None:
    """A producer may send any time; one before 1970 is stored as 1970 and has expired."""
    ada = committed(store, "ada")
    ended = replace(session("phone"), expires_at=expires_at)
    must_commit(store, replace(renamed(ada), saved_sessions=(ended,)))
    stored = load_user(store, "ada", "phone")
    assert stored.sessions[uid("session phone")].expires_at == EPOCH


# --- erased users --------------------------------------------------------------------------


def test_a_command_to_an_erased_user_leaves_no_fingerprint(store: Store) -> None:
    """It is derived from personal data and could be guessed; the scrub may be done by then."""
    late = outcome("late", "ada", version=2, by_email=True, code=RejectionCode.USER_ERASED)
    must_commit(store, UserChange(uid("ada"), (late,)))
    for key in (CommandKey(uid("ada"), uid("late")), CommandKey(None, uid("late"))):
        stored = store.repository.outcome(key)
        assert stored is not None
        assert stored.fingerprint == ""
    again = UserChange(uid("ada"), (replace(late, code=None),))
    assert commit(store, again).conflicts == {0: Conflict.DUPLICATE}


# --- scrub jobs ----------------------------------------------------------------------------


def test_an_erasure_leaves_a_scrub_job_with_its_commit(store: Store) -> None:
    """The job is in the outbox beside the entry, and the report does not list it."""
    ada = committed(store, "ada")
    store.outbox.close(pending(store))
    erased = replace(renamed(ada, command="erase"), released=ada.email, scrub=True)
    report = must_commit(store, erased)
    jobs = {entry.kind: entry for entry in pending(store)}
    assert set(jobs) == {JobKind.PUBLISH, JobKind.SCRUB}
    assert jobs[JobKind.SCRUB].commands == (CommandKey(uid("ada"), uid("erase")),)
    assert report.entries == (jobs[JobKind.PUBLISH],)
    assert jobs[JobKind.SCRUB].recorded_at == NOW
