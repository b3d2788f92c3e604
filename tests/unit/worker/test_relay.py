from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from adapters.memory import MemoryEventPublisher, MemoryOutbox, MemoryStore, MemoryUserRepository
from domain.commands import EraseUser
from domain.ports import (
    Clock,
    EventMessage,
    Outcome,
    Pointer,
    PublishFailure,
    Snapshot,
    StoreUnavailableError,
    UserChange,
)
from tests.builders import NOW, RULES, register, uid, works
from worker.relay import PAGE, Relay, RelayPolicy
from worker.rounds import decide_round

AGE = timedelta(seconds=30)


class MovingClock(Clock):
    """A clock that the test moves."""

    time = NOW

    def now(self) -> datetime:
        """Give the time it was moved to."""
        return self.time


class Topic(MemoryEventPublisher):
    """A topic that can refuse."""

    refusal: PublishFailure | None = None

    def publish(self, messages: Sequence[EventMessage]) -> dict[str, PublishFailure]:
        """Refuse everything when told to."""
        if self.refusal:
            return dict.fromkeys((m.event_id for m in messages), self.refusal)
        return super().publish(messages)


class World:
    """A relay and what it works on; the memory outbox has one shard here."""

    def __init__(self) -> None:
        """Start with an empty outbox."""
        self.store = MemoryStore()
        self.clock = MovingClock()
        self.topic = Topic()
        self.outbox = MemoryOutbox(self.store)
        self.relay = Relay(self.outbox, self.topic, self.clock, RelayPolicy(0.01, AGE))

    def commit(self, *names: str) -> list[Outcome]:
        """Commit registrations, in one transaction, and publish nothing."""
        decided = decide_round(works(*((register(n), n) for n in names)), Snapshot(), RULES)
        changes: list[UserChange] = [draft.change() for draft in decided.drafts]
        report = MemoryUserRepository(self.store).commit(changes, NOW)
        assert not report.conflicts
        return [outcome for change in changes for outcome in change.outcomes]

    def look_everywhere(self) -> None:
        """Look at random shards until every one was surely looked at."""
        for _ in range(200):
            self.relay.run_once()


@pytest.fixture
def world() -> World:
    """An empty world."""
    return World()


def test_what_was_committed_and_not_published_is_published_once_it_is_old(world: World) -> None:
    """With the ids that the batch would have given."""
    outcomes = world.commit("ada", "eve")
    world.look_everywhere()
    assert world.topic.published == []
    world.clock.time = NOW + AGE + timedelta(milliseconds=1)
    world.look_everywhere()
    assert [event.user_id for event in world.topic.published] == [o.user_id for o in outcomes]
    assert len({event.event_id for event in world.topic.published}) == 2
    assert world.store.pointers == {}


def test_a_full_shard_is_worked_off_page_by_page(world: World) -> None:
    """An outage leaves more than one page behind."""
    for n in range(PAGE * 3 * 8):
        world.commit(f"u{n}")
    world.clock.time = NOW + timedelta(minutes=5)
    world.look_everywhere()
    assert len(world.topic.published) == PAGE * 3 * 8
    assert world.store.pointers == {}


def test_what_the_topic_cannot_take_now_stays(world: World) -> None:
    """SNS is down: the pointer waits for the next look."""
    world.commit("ada")
    world.clock.time = NOW + timedelta(minutes=5)
    world.topic.refusal = PublishFailure("Throttled", permanent=False)
    world.look_everywhere()
    assert len(world.store.pointers) == 1
    world.topic.refusal = None
    world.look_everywhere()
    assert world.store.pointers == {}


def test_what_the_topic_refuses_for_its_content_is_parked(world: World) -> None:
    """A person sees it, and the shard is not blocked."""
    world.commit("ada")
    world.clock.time = NOW + timedelta(minutes=5)
    world.topic.refusal = PublishFailure("InvalidParameter", permanent=True)
    world.look_everywhere()
    [parked] = world.outbox.status().parked
    assert "InvalidParameter" in str(parked.parked_because)


def test_a_pointer_whose_outcome_is_missing_is_parked_never_deleted(world: World) -> None:
    """It names something that was promised."""
    world.commit("ada")
    world.store.outcomes.clear()
    world.clock.time = NOW + timedelta(minutes=5)
    world.look_everywhere()
    [parked] = world.outbox.status().parked
    assert "missing" in str(parked.parked_because)
    assert world.topic.published == []


def test_an_erased_users_data_are_scrubbed_and_the_job_is_closed(world: World) -> None:
    """Also from the events that were stored before."""
    world.commit("ada")
    erasure = works((EraseUser(), "ada"), name="erasure")
    ada = MemoryUserRepository(world.store).get(uid("ada"))
    assert ada is not None
    [draft] = decide_round(erasure, Snapshot(users={uid("ada"): ada}), RULES).drafts
    MemoryUserRepository(world.store).commit([draft.change()], NOW)
    world.clock.time = NOW + timedelta(minutes=5)
    world.look_everywhere()
    assert world.store.pointers == {}
    stored = [event.data for outcome in world.store.outcomes.values() for event in outcome.events]
    assert stored == [{"email": None}, {}]


def test_the_thread_outlives_what_it_meets_and_stops_when_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is down, or a bug, does not end the relay."""
    looks: list[str] = []
    enough = threading.Event()

    def fail(*_: object) -> list[Pointer]:
        looks.append("look")
        if len(looks) == 3:
            enough.set()
        raise StoreUnavailableError("down") if len(looks) % 2 else KeyError("a bug")

    monkeypatch.setattr(world.outbox, "pending", fail)
    world.relay.start()
    assert enough.wait(5)
    world.relay.stop()
    assert not any(thread.name == "relay" for thread in threading.enumerate())
