"""Contract of the outbox port, for every store."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from adapters.memory import MemoryEventPublisher
from application import ports
from application.messages import render_events
from application.outbox import final_scrub
from application.ports import CommandKey, JobKind, OutboxEntry
from application.relay import Relay, RelayPolicy
from application.repository import UserChange
from domain import events as e
from domain.errors import RejectionCode
from domain.values import render_time
from tests.builders import NOW, email, uid
from tests.persistence import (
    LATER,
    Store,
    committed,
    erased,
    keys_of,
    load_user,
    must_commit,
    outcome,
    pending,
    registered,
    renamed,
    scrub,
    session,
    two_factor,
)

SOON = LATER + timedelta(milliseconds=1)


class Clock(ports.Clock):
    """A clock that the test moves."""

    time = NOW

    def now(self) -> datetime:
        """Return the time it was set to."""
        return self.time


def test_a_pointer_is_pending_from_its_commit_until_it_is_closed(store: Store) -> None:
    """Closing it twice has no effect."""
    report = must_commit(store, registered("ada"))
    assert pending(store) == list(report.entries)
    for _ in range(2):
        store.outbox.close(report.entries)
        assert pending(store) == []
    store.outbox.close([])


def test_several_pointers_are_closed_together(store: Store) -> None:
    """More entries than one call of a store accepts."""
    entries = [must_commit(store, registered(f"user{n}")).entries[0] for n in range(3)]
    gone = [replace(entries[0], sort_key=f"{entries[0].sort_key}{n}") for n in range(26)]
    store.outbox.close([entries[0], *gone, entries[1]])
    assert pending(store) == [entries[2]]


def test_pending_gives_what_was_recorded_before_a_time(store: Store) -> None:
    """An entry that a batch may still be processing is left alone."""
    must_commit(store, registered("ada"))
    assert not any(store.outbox.pending(NOW).entries for _ in range(8))
    store.repository.commit([registered("grace")], LATER)
    assert len(pending(store)) == 1
    soon = LATER + timedelta(milliseconds=1)
    assert sum(len(store.outbox.pending(soon).entries) for _ in range(8)) == 2


def test_pending_is_oldest_first_and_no_more_than_asked_for(store: Store) -> None:
    """The oldest entry is processed first."""
    for n in range(16):
        store.repository.commit([registered(f"user{n}")], NOW + timedelta(milliseconds=n))
    for _ in range(8):
        page = store.outbox.pending(LATER, limit=2).entries
        assert len(page) <= 2
        times = [entry.recorded_at for entry in page]
        assert times == sorted(times)
    assert len(pending(store, limit=16)) == 16


@pytest.mark.parametrize("closing", [False, True])
def test_pages_go_through_a_shard_whole(store: Store, closing: bool) -> None:
    """Each entry once and in order, whether or not earlier entries remain."""
    for n in range(40):
        store.repository.commit([registered(f"user{n}")], NOW + timedelta(milliseconds=n))
    seen: list[OutboxEntry] = []
    for _ in range(8):
        of_shard: list[OutboxEntry] = []
        page = store.outbox.pending(LATER, limit=2)
        while True:
            of_shard += page.entries
            if closing:
                store.outbox.close(page.entries)
            if page.last is None:
                break
            page = store.outbox.pending(LATER, 2, page.last)
        assert len({entry.partition for entry in of_shard}) <= 1
        assert of_shard == sorted(of_shard, key=lambda entry: entry.recorded_at)
        seen += of_shard
    assert len(seen) == 40
    assert len({entry.sort_key for entry in seen}) == 40
    assert store.outbox.status().pending == (0 if closing else 40)


def test_the_outcomes_that_pointers_name_are_read(store: Store) -> None:
    """With and without a user; a missing outcome is absent."""
    change = registered("ada")
    alone = UserChange(None, (outcome("reset", None, version=0, by_email=True),))
    report = must_commit(store, change, alone)
    missing = CommandKey(uid("ada"), uid("never recorded"))
    entry = replace(report.entries[0], commands=(*report.entries[0].commands, missing))
    outcomes = store.outbox.outcomes([entry])
    assert outcomes.found.keys() == keys_of(change, alone)
    assert outcomes.unreadable == set()
    assert [outcomes.found[key] for each in (change, alone) for key in keys_of(each)] == [
        *change.outcomes,
        *alone.outcomes,
    ]


def test_a_parked_pointer_is_set_apart_with_its_reason(store: Store) -> None:
    """It is no longer pending but listed for an operator; parking it twice has no effect."""
    (entry,) = must_commit(store, registered("ada")).entries
    for _ in range(2):
        store.outbox.park(entry, "an outcome is missing")
    assert pending(store) == []
    status = store.outbox.status()
    assert (status.pending, status.oldest) == (0, None)
    (parked,) = status.parked
    assert parked == replace(
        entry, partition=parked.partition, parked_because="an outcome is missing"
    )


def test_a_parked_pointer_can_be_closed(store: Store) -> None:
    """An operator has resolved it."""
    (entry,) = must_commit(store, registered("ada")).entries
    store.outbox.park(entry, "refused")
    store.outbox.close(store.outbox.status().parked)
    assert store.outbox.status().parked == ()


def test_a_parked_pointer_can_be_put_back_once(store: Store) -> None:
    """Unchanged and with its age, so that any relay processes it; a second call has no effect."""
    (entry,) = must_commit(store, registered("ada")).entries
    store.outbox.park(entry, "refused")
    (parked,) = store.outbox.status().parked
    back = store.outbox.unpark(parked)
    assert back == replace(entry, partition=back.partition if back else "")
    assert store.outbox.unpark(parked) is None
    assert pending(store) == [back]
    assert store.outbox.status().parked == ()


def test_a_parked_pointer_that_was_closed_is_not_put_back(store: Store) -> None:
    """Its work is done."""
    (entry,) = must_commit(store, registered("ada")).entries
    store.outbox.park(entry, "refused")
    (parked,) = store.outbox.status().parked
    store.outbox.close([parked])
    assert store.outbox.unpark(parked) is None
    assert pending(store) == []


def test_pages_give_everything_once_and_what_is_parked_last(store: Store) -> None:
    """Every shard, oldest first in each."""
    assert [entry for page in store.outbox.pages() for entry in page.entries] == []
    for n in range(20):
        store.repository.commit([registered(f"user{n}")], NOW + timedelta(milliseconds=n))
    first = pending(store, 20)[0]
    store.outbox.park(first, "refused")
    seen = [entry for page in store.outbox.pages() for entry in page.entries]
    assert len({entry.sort_key for entry in seen}) == len(seen) == 20
    assert [entry.parked_because for entry in seen] == [None] * 19 + ["refused"]
    for shard in {entry.partition for entry in seen}:
        times = [entry.recorded_at for entry in seen if entry.partition == shard]
        assert times == sorted(times)


def test_the_oldest_entries_are_read_in_bounded_pages(store: Store) -> None:
    """Each shard gives its oldest ones; the parked ones are read separately."""
    for n in range(40):
        store.repository.commit([registered(f"user{n}")], NOW + timedelta(milliseconds=n))
    for entry in pending(store, 40)[:3]:
        store.outbox.park(entry, "refused")
    everything = [entry for page in store.outbox.pages() for entry in page.entries]
    by_shard: dict[str, list[OutboxEntry]] = {}
    for entry in everything:
        if entry.parked_because is None:
            by_shard.setdefault(entry.partition, []).append(entry)
    pages = [list(page.entries) for page in store.outbox.oldest(2)]
    assert sorted(map(str, filter(None, pages))) == sorted(
        str(entries[:2]) for entries in by_shard.values()
    )
    (parked,) = store.outbox.oldest(2, parked=True)
    assert list(parked.entries) == [e for e in everything if e.parked_because is not None][:2]


def test_a_bounded_status_says_that_it_is_incomplete(store: Store) -> None:
    """No more than the stated number of entries of a shard is counted, where counting costs."""
    for n in range(30):
        store.repository.commit([registered(f"user{n}")], NOW)
    assert store.outbox.status(most=100) == store.outbox.status()
    assert store.outbox.status().complete
    bounded = store.outbox.status(most=1)
    if bounded.pending == 30:  # the entries are in memory
        assert bounded.complete
    else:
        assert not bounded.complete
        assert bounded.pending <= 8


def test_a_pointer_that_was_closed_is_not_parked(store: Store) -> None:
    """Another relay has finished its work."""
    report = must_commit(store, registered("ada"))
    store.outbox.close(report.entries)
    store.outbox.park(report.entries[0], "too late")
    assert store.outbox.status().parked == ()


def test_status_counts_all_shards_and_finds_the_oldest(store: Store) -> None:
    """In all shards."""
    assert (store.outbox.status().pending, store.outbox.status().oldest) == (0, None)
    for n in range(12):
        store.repository.commit([registered(f"user{n}")], LATER - timedelta(milliseconds=n))
    status = store.outbox.status()
    assert (status.pending, status.parked) == (12, ())
    assert status.oldest == LATER - timedelta(milliseconds=11)


# --- states of a pointer -------------------------------------------------------------------


def test_a_pointer_remembers_what_relays_store_in_it(store: Store) -> None:
    """Attempts, position and the rest; in place, for the relay that reads it next."""
    (entry,) = must_commit(store, registered("ada")).entries
    first = replace(entry, attempts=1, touched_at=LATER)
    assert store.outbox.update(entry, first)
    assert pending(store) == [first]
    second = replace(
        first, attempts=0, touched_at=SOON, position="COMMAND#x", unreadable=2, final=True
    )
    assert store.outbox.update(first, second)
    assert pending(store) == [second]


def test_of_two_relays_that_read_the_same_state_one_stores_the_next(store: Store) -> None:
    """The other relay learns of the conflict, and no attempt is counted twice."""
    (entry,) = must_commit(store, registered("ada")).entries
    first = replace(entry, attempts=1, touched_at=LATER)
    assert store.outbox.update(entry, first)
    assert not store.outbox.update(entry, replace(entry, attempts=1, touched_at=SOON))
    assert store.outbox.update(first, replace(first, touched_at=SOON))
    assert not store.outbox.update(first, replace(first, attempts=2, touched_at=LATER))
    assert pending(store) == [replace(first, touched_at=SOON)]


@pytest.mark.parametrize("moved", [False, True])
def test_a_pointer_that_was_closed_stays_closed(store: Store, moved: bool) -> None:
    """A relay that was still processing it does not create it again."""
    (entry,) = must_commit(store, registered("ada")).entries
    store.outbox.close([entry])
    new = final_scrub(entry, LATER, render_time) if moved else replace(entry, touched_at=LATER)
    assert not store.outbox.update(entry, new)
    assert store.outbox.status(LATER).pending == 0
    assert store.outbox.status(LATER).scheduled == 0


def test_a_pointer_that_is_put_back_starts_anew(store: Store) -> None:
    """Attempts from before it was parked do not count."""
    (entry,) = must_commit(store, registered("ada")).entries
    tried = replace(entry, attempts=4, touched_at=LATER)
    assert store.outbox.update(entry, tried)
    store.outbox.park(tried, "refused")
    (parked,) = store.outbox.status().parked
    back = store.outbox.unpark(parked)
    assert back is not None
    assert (back.attempts, back.touched_at) == (0, None)
    assert pending(store) == [back]


# --- scrubbing -----------------------------------------------------------------------------


def test_only_an_erased_user_may_be_scrubbed(store: Store) -> None:
    """Or one who does not exist, of whom something is left."""
    assert store.outbox.may_scrub(uid("ada"))
    ada = committed(store, "ada")
    assert not store.outbox.may_scrub(uid("ada"))
    must_commit(store, erased(ada))
    assert store.outbox.may_scrub(uid("ada"))


@pytest.mark.parametrize("final", [False, True])
def test_a_scrub_job_for_a_user_who_is_not_erased_changes_nothing(
    store: Store, final: bool
) -> None:
    """A role that can write outbox entries can neither log out a user nor release an address."""
    ada = committed(store, "ada")
    session_of_ada = session("phone")
    must_commit(store, replace(renamed(ada), saved_sessions=(session_of_ada,), scrub=True))
    (job,) = [each for each in pending(store, 9) if each.kind is JobKind.SCRUB]
    if final:
        forged = replace(job, final=True, address="ada@example.com")
        assert store.outbox.update(job, forged)
    before = store.repository.history(uid("ada"))
    clock = Clock()
    clock.time = NOW + timedelta(hours=1)
    relay = Relay(
        store.outbox, MemoryEventPublisher(), clock, RelayPolicy(1, timedelta(0)), render_events
    )
    for _ in range(8):
        relay.run_once()
    assert store.repository.history(uid("ada")) == before
    assert before[0].fingerprint
    kept = load_user(store, "ada", "phone")
    assert session_of_ada.session_id in kept.sessions
    assert store.repository.get_by_email(email("ada")) is not None
    assert not any(page.entries for page in store.outbox.pages())


def test_a_scrub_is_cut_into_pages(store: Store) -> None:
    """Each page returns the position to continue after, and later items are unchanged."""
    fill(store)
    left, position = [8], None
    while True:
        page = store.outbox.scrub(uid("ada"), position)
        left.append(sum(o.fingerprint != "" for o in store.repository.history(uid("ada"))))
        position = page.last
        if position is None:
            break
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0
    if len(left) > 2:  # a store with small pages
        assert max(a - b for a, b in pairwise(left)) <= 3


def test_the_second_scrub_takes_what_was_written_after_the_first(store: Store) -> None:
    """By a batch that stalled between its reads and its commit: no condition prevents that.

    Until the second scrub is due, it is neither pending nor late.
    """
    must_commit(store, erased(committed(store, "ada")))
    clock = Clock()
    policy = RelayPolicy(1, timedelta(seconds=30), second_scrub_after=timedelta(minutes=15))
    relay = Relay(store.outbox, MemoryEventPublisher(), clock, policy, render_events)

    clock.time = NOW + timedelta(seconds=31)
    assert sum(relay.run_once() for _ in range(8)) == 3
    assert not any(o.fingerprint for o in store.repository.history(uid("ada")))
    status = store.outbox.status(clock.time)
    assert (status.pending, status.oldest, status.scheduled) == (0, None, 1)
    assert not any(store.outbox.pending(clock.time).entries for _ in range(8))

    late = outcome("late", "ada", version=2, code=RejectionCode.EMAIL_TAKEN)
    must_commit(store, UserChange(uid("ada"), (late,)))
    written = store.repository.outcome(CommandKey(uid("ada"), uid("late")))
    assert written is not None
    assert written.fingerprint == late.fingerprint != ""

    clock.time += timedelta(minutes=15, seconds=31)
    assert store.outbox.status(clock.time).pending == 2  # and the late command's own
    sum(relay.run_once() for _ in range(8))
    scrubbed = store.repository.outcome(CommandKey(uid("ada"), uid("late")))
    assert scrubbed == replace(late, fingerprint="")
    status = store.outbox.status(clock.time)
    assert (status.pending, status.scheduled) == (0, 0)


def fill(store: Store) -> list[UserChange]:
    """Create a long history of Ada, and add Grace."""
    grace = registered("grace")
    must_commit(store, registered("ada"), grace)
    changes = []
    for n in range(7):  # more than a page, in the stores that have pages
        ada = load_user(store, "ada")
        change = renamed(ada, command=f"command {n}")
        moved = e.EmailChanged("ada@example.com", f"ada{n}@example.com")
        event = e.RecordedEvent.of(moved, ada.version + 1)
        decided = replace(change.outcomes[0], events=(event,), by_email=n == 3)
        change = replace(
            change,
            outcomes=(decided,),
            saved_sessions=(session(f"phone {n}"),),
            saved_two_factor=two_factor() if n == 0 else None,
        )
        must_commit(store, change)
        changes.append(change)
    return [grace, *changes]


def test_scrubbing_takes_out_personal_data_and_sessions(store: Store) -> None:
    """Events keep everything else; fingerprints are emptied; other users are unchanged."""
    grace, *changes = fill(store)
    for _ in range(2):  # once more changes nothing
        scrub(store.outbox, uid("ada"))
        history = store.repository.history(uid("ada"))
        assert len(history) == 8
        for decided in history:
            assert decided.fingerprint == ""
            assert "ada" not in str([event.data for event in decided.events])
        for change in changes:
            (before,) = change.outcomes
            after = store.repository.outcome(CommandKey(uid("ada"), before.command_id))
            data: dict[str, e.JsonValue] = {"old_email": None, "new_email": None}
            event = replace(before.events[0], data=data)
            assert after == replace(before, fingerprint="", events=(event,))
        names = [f"phone {n}" for n in range(7)]
        ada = load_user(store, "ada", *names)
        assert (ada.sessions, ada.two_factor) == ({}, None)
    assert store.repository.history(uid("grace")) == list(grace.outcomes)
    assert store.repository.get_by_email(email("grace")) is not None


def test_scrubbing_empties_the_fingerprint_under_the_command_alone(store: Store) -> None:
    """The reference of a command by address concerns the same user."""
    fill(store)
    reference = store.repository.outcome(CommandKey(None, uid("command 3")))
    assert reference is not None
    assert reference.fingerprint
    scrub(store.outbox, uid("ada"))
    reference = store.repository.outcome(CommandKey(None, uid("command 3")))
    assert reference is not None
    assert reference.fingerprint == ""


def test_scrubbing_an_unknown_user_is_harmless(store: Store) -> None:
    """A job may outlive all its items."""
    scrub(store.outbox, uid("nobody"))
    assert store.repository.history(uid("nobody")) == []


def test_a_scrub_job_is_worked_off_as_any_pointer(store: Store) -> None:
    """It is pending until it is closed."""
    ada = committed(store, "ada")
    must_commit(store, replace(renamed(ada), scrub=True))
    (job,) = [entry for entry in pending(store) if entry.kind is JobKind.SCRUB]
    assert job.commands[0].user_id == uid("ada")
    store.outbox.close([job])
    assert all(entry.kind is JobKind.PUBLISH for entry in pending(store))
