"""Properties of the stores in memory beyond the contract suite."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from adapters.memory import (
    MemoryEventPublisher,
    MemoryOutbox,
    MemoryStore,
    MemoryUserRepository,
)
from application.ports import EventMessage
from application.repository import Conflict, UserChange
from tests.builders import NOW, email, uid
from tests.persistence import moved, registered, renamed

NAMES = "abc"
steps = st.lists(
    st.tuples(
        st.sampled_from(["register", "rename", "move"]),
        st.sampled_from(NAMES),
        st.sampled_from(NAMES),
        st.booleans(),
    ),
    max_size=25,
)


def decide(
    repository: MemoryUserRepository, step: tuple[str, str, str, bool], number: int
) -> UserChange:
    """Return a change that is decided on the stored state, or on none."""
    kind, name, address, fresh = step
    user = repository.get(uid(name))
    if kind == "register" or user is None:
        return registered(name, address, f"command {number}")
    change = moved(user, address) if kind == "move" else renamed(user)
    decided = replace(change.outcomes[0], command_id=uid(f"command {number}"))
    version = change.read_version if fresh else change.read_version - 1
    return replace(change, outcomes=(decided,), read_version=version)


@given(steps, st.integers(1, 4))
def test_whatever_is_committed_an_address_has_one_owner_and_no_version_is_lost(
    plan: list[tuple[str, str, str, bool]], batch: int
) -> None:
    """In batches of any size, with changes decided on current or old state."""
    store = MemoryStore()
    repository = MemoryUserRepository(store)
    committed = 0
    for start in range(0, len(plan), batch):
        changes = [
            decide(repository, step, start + n)
            for n, step in enumerate(plan[start : start + batch])
        ]
        report = repository.commit(changes, NOW)
        assert Conflict.DUPLICATE not in report.conflicts.values()
        committed += len(changes) - len(report.conflicts)
    users = repository.get_many([uid(name) for name in NAMES])
    assert store.addresses == {u.email.key: u.user_id for u in users.values() if u.email}
    assert len(store.outcomes) == committed
    assert sum(user.version for user in users.values()) == committed
    named = [key for entry in store.entries.values() for key in entry.commands]
    assert sorted(named) == sorted(store.outcomes)


def message(name: str) -> EventMessage:
    """Return a message for an event."""
    return EventMessage(uid(name), uid("ada"), "{}", "biome.user.Test.v1", "profile", "/test")


def test_the_topic_keeps_what_was_published_in_order() -> None:
    """Including duplicates, as subscribers would see them."""
    topic = MemoryEventPublisher()
    assert topic.publish([message("one"), message("two")]) == {}
    topic.publish([message("one")])
    assert topic.published == [message("one"), message("two"), message("one")]
    topic.published.clear()
    assert len(topic.published) == 3


def test_threads_lose_nothing() -> None:
    """Each commit and each event of each thread is stored."""
    store, topic = MemoryStore(), MemoryEventPublisher()
    repository, outbox = MemoryUserRepository(store), MemoryOutbox(store)

    def work(n: int) -> None:
        for m in range(20):
            report = repository.commit([registered(f"user{n}x{m}")], NOW)
            topic.publish([message(f"{n} {m}")])
            if m % 2:
                outbox.close(report.entries)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(topic.published) == 160
    assert outbox.status().pending == 80
    assert repository.get_by_email(email("user7x19")) is not None
