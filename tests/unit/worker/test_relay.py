from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import pytest
from structlog.testing import capture_logs

from adapters.memory import MemoryEventPublisher, MemoryOutbox, MemoryStore, MemoryUserRepository
from domain.commands import EraseUser
from domain.outbox import OutboxPage, OutboxPosition, PointedOutcomes
from domain.ports import (
    Clock,
    EventMessage,
    JobKind,
    Outcome,
    Pointer,
    PublishFailure,
    Snapshot,
    StoreUnavailableError,
    UserChange,
)
from tests.builders import NOW, RULES, register, uid, works
from tests.persistence import shards
from worker.relay import HOPELESS, PAGE, Relay, RelayPolicy
from worker.rounds import decide_round
from worker.vital import LONGEST_BATCH

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
    refusal_of: dict[str, PublishFailure]
    """By user id: what is said of this one's events alone."""
    on_publish: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self) -> None:
        """Take everything."""
        super().__init__()
        self.refusal_of = {}

    def publish(self, messages: Sequence[EventMessage]) -> dict[str, PublishFailure]:
        """Refuse everything when told to."""
        self.on_publish()
        if self.refusal:
            return dict.fromkeys((m.event_id for m in messages), self.refusal)
        super().publish([m for m in messages if m.user_id not in self.refusal_of])
        return {
            m.event_id: self.refusal_of[m.user_id] for m in messages if m.user_id in self.refusal_of
        }


class DamagedOutbox(MemoryOutbox):
    """An outbox some of which cannot be read, as a later format could not."""

    def __init__(self, store: MemoryStore, choose_shard: Callable[[], int]) -> None:
        """Start undamaged."""
        super().__init__(store, choose_shard)
        self.unreadable_pointers: set[str] = set()
        """By sort key."""
        self.unreadable_users: set[str] = set()
        """By user id: all their outcomes."""
        self.errors: dict[str, Exception] = {}
        """What is raised instead of reading a user's outcomes or scrubbing them, by user id."""

    def pending(
        self, before: datetime, limit: int = 10, after: OutboxPosition | None = None
    ) -> OutboxPage:
        """Say of some pointers only where they are."""
        page = super().pending(before, limit, after)
        bad = [p for p in page.pointers if p.sort_key in self.unreadable_pointers]
        return OutboxPage(
            tuple(pointer for pointer in page.pointers if pointer not in bad),
            tuple(OutboxPosition(pointer.partition, pointer.sort_key) for pointer in bad),
            page.last,
        )

    def outcomes(self, pointers: Sequence[Pointer]) -> PointedOutcomes:
        """Give some outcomes for unreadable, and fail at others."""
        found = dict(super().outcomes(pointers).found)
        for key in found:
            self._fail(key.user_id)
        bad = {key for key in found if key.user_id in self.unreadable_users}
        return PointedOutcomes({k: o for k, o in found.items() if k not in bad}, bad)

    def scrub(self, user_id: str, on_page: Callable[[], object] = lambda: None) -> int:
        """Leave some as they are, and fail at others."""
        self._fail(user_id)
        return 1 if user_id in self.unreadable_users else super().scrub(user_id, on_page)

    def _fail(self, user_id: str | None) -> None:
        if user_id in self.errors:
            raise self.errors[user_id]


class World:
    """A relay and what it works on; each look is at the next shard."""

    def __init__(self) -> None:
        """Start with an empty outbox."""
        self.shards = shards()
        self.store = MemoryStore()
        self.clock = MovingClock()
        self.topic = Topic()
        self.outbox = DamagedOutbox(self.store, self.shards.__next__)
        self.relay = Relay(self.outbox, self.topic, self.clock, RelayPolicy(0.01, AGE))

    def commit(self, *names: str) -> list[Outcome]:
        """Commit registrations, in one transaction, and publish nothing."""
        decided = decide_round(works(*((register(n), n) for n in names)), Snapshot(), RULES)
        changes: list[UserChange] = [draft.change() for draft in decided.drafts]
        report = MemoryUserRepository(self.store).commit(changes, NOW)
        assert not report.conflicts
        return [outcome for change in changes for outcome in change.outcomes]

    def look_everywhere(self) -> None:
        """Look at every shard once."""
        for _ in range(8):
            self.relay.run_once()

    def erase(self, name: str) -> None:
        """Commit an erasure, and publish nothing."""
        user = MemoryUserRepository(self.store).get(uid(name))
        assert user is not None
        erasure = works((EraseUser(), name), name=f"erasure of {name}")
        [draft] = decide_round(erasure, Snapshot(users={uid(name): user}), RULES).drafts
        MemoryUserRepository(self.store).commit([draft.change()], NOW)


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


def test_a_look_says_once_why_the_topic_takes_nothing(world: World) -> None:
    """Where no command comes, no batch says it; and a look in vain is one line, however full."""
    for n in range(HOPELESS * 8):
        world.commit(f"u{n}")
    world.clock.time = NOW + timedelta(minutes=5)
    world.topic.refusal = PublishFailure("AuthorizationError", permanent=False)
    with capture_logs() as refused:
        world.look_everywhere()
    world.topic.refusal = None
    with capture_logs() as taken:
        world.look_everywhere()
    told = [line for line in refused if line["event"] == "publish_deferred"]
    assert 1 <= len(told) <= 8
    assert all(line["reasons"] == ["AuthorizationError"] for line in told)
    assert all(0 < line["events"] <= HOPELESS for line in told)
    assert "publish_deferred" not in [line["event"] for line in taken]


def test_what_the_topic_refuses_for_its_content_is_parked(world: World) -> None:
    """A person sees it, and the shard is not blocked."""
    world.commit("ada")
    world.clock.time = NOW + timedelta(minutes=5)
    world.topic.refusal = PublishFailure("InvalidParameter", permanent=True)
    world.look_everywhere()
    [parked] = world.outbox.status().parked
    assert "InvalidParameter" in str(parked.parked_because)


def test_what_the_topic_refuses_does_not_keep_its_transactions_other_events(world: World) -> None:
    """They go out before the pointer is parked, which is where the relay's work on it ends."""
    world.commit("ada", "eve", "bob")
    world.clock.time = NOW + timedelta(minutes=5)
    world.topic.refusal_of = {
        uid("ada"): PublishFailure("InvalidParameter", permanent=True),
        uid("eve"): PublishFailure("Throttled", permanent=False),
    }
    world.look_everywhere()
    assert world.outbox.status().parked == ()
    assert len(world.store.pointers) == 1
    del world.topic.refusal_of[uid("eve")]
    world.look_everywhere()
    assert {event.user_id for event in world.topic.published} == {uid("bob"), uid("eve")}
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
    world.erase("ada")
    world.clock.time = NOW + timedelta(minutes=5)
    world.look_everywhere()
    assert world.store.pointers == {}
    stored = [event.data for outcome in world.store.outcomes.values() for event in outcome.events]
    assert stored == [{"email": None}, {}]


def test_a_scrub_of_thousands_of_pages_is_life(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes longer than the relay may hang: each page counts, and no restart cuts it short."""
    now, ages = 0.0, []
    monkeypatch.setattr("worker.relay.monotonic", lambda: now)

    def scrub(_: str, on_page: Callable[[], object]) -> int:
        nonlocal now
        for _page in range(3):
            now += LONGEST_BATCH
            ages.append(now - world.relay._beat_at)
            on_page()
        return 0

    monkeypatch.setattr(world.outbox, "scrub", scrub)
    world.commit("ada")
    world.erase("ada")
    world.clock.time = NOW + timedelta(minutes=5)
    world.look_everywhere()
    assert ages == [LONGEST_BATCH] * 3


@pytest.fixture
def one_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pointer goes to the same shard."""
    monkeypatch.setattr("adapters.memory.commit.random_shard", lambda: 0)


def published_to(world: World) -> set[str]:
    """Give whom events were published about."""
    return {event.user_id for event in world.topic.published}


STUCK = [f"stuck{n}" for n in range(PAGE * 2 + 3)]


@pytest.mark.usefixtures("one_shard")
@pytest.mark.parametrize(
    "what", ["pointer", "outcome", "scrub job", "bug", "bug in a scrub job", "outage"]
)
def test_what_is_stuck_blocks_nothing_behind_it(world: World, what: str) -> None:
    """In one look, past more than a page of it; and it stays, to be done when it can be."""
    for name in STUCK:
        world.commit(name)
    if "scrub job" in what:
        world.outbox.close([*world.store.pointers.values()])
        for name in STUCK:
            world.erase(name)
        jobs = [p for p in world.store.pointers.values() if p.kind is JobKind.SCRUB]
        world.outbox.close([p for p in world.store.pointers.values() if p not in jobs])
    stuck = set(world.store.pointers)
    ids = {uid(name) for name in STUCK}
    if what == "pointer":
        world.outbox.unreadable_pointers = {sort_key for _, sort_key in stuck}
    elif what in {"outcome", "scrub job"}:
        world.outbox.unreadable_users = ids
    else:
        error = StoreUnavailableError("down") if what == "outage" else KeyError("a bug")
        world.outbox.errors = dict.fromkeys(ids, error)
    world.commit("healthy")
    world.clock.time = NOW + timedelta(minutes=5)
    with capture_logs() as logs:
        assert world.relay.run_once() == 1
    assert published_to(world) == {uid("healthy")}
    assert set(world.store.pointers) == stuck
    unreadable = [line["pointers"] for line in logs if line["event"] == "outbox_unreadable"]
    told = [line["pointer"] for line in logs if line["event"].startswith("outbox_pointer_")]
    if what in {"pointer", "outcome", "scrub job"}:
        assert (unreadable, told) == ([len(STUCK)], [])
    else:
        assert (unreadable, len(told)) == ([], len(STUCK))
    world.outbox.unreadable_pointers = world.outbox.unreadable_users = set()
    world.outbox.errors = {}
    world.look_everywhere()
    assert world.store.pointers == {}
    assert published_to(world) >= (set() if "scrub job" in what else ids)


@pytest.mark.usefixtures("one_shard")
def test_an_outcome_that_is_missing_beside_one_that_cannot_be_read_is_not_parked(
    world: World,
) -> None:
    """The worker that can read the one decides about both."""
    world.commit("ada", "eve")
    world.outbox.unreadable_users = {uid("ada")}
    for key in [key for key in world.store.outcomes if key.user_id == uid("eve")]:
        del world.store.outcomes[key]
    world.clock.time = NOW + timedelta(minutes=5)
    world.look_everywhere()
    assert world.outbox.status().parked == ()
    world.outbox.unreadable_users = set()
    world.look_everywhere()
    [parked] = world.outbox.status().parked
    assert "missing" in str(parked.parked_because)


@pytest.mark.usefixtures("one_shard")
def test_a_look_ends_between_two_pointers_when_the_relay_is_stopped(world: World) -> None:
    """However much the shard holds."""
    for name in STUCK:
        world.commit(name)
    world.clock.time = NOW + timedelta(minutes=5)
    world.topic.on_publish = world.relay.stop
    assert world.relay.run_once() == 1
    assert len(world.store.pointers) == len(STUCK) - 1


@pytest.mark.usefixtures("one_shard")
def test_a_look_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of a shard that never ends is for the next look."""
    monkeypatch.setattr("worker.relay.MAX_PAGES", 2)
    for name in STUCK:
        world.commit(name)
    world.clock.time = NOW + timedelta(minutes=5)
    assert [world.relay.run_once() for _ in range(9)] == [PAGE * 2, *[0] * 7, 3]


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


def test_a_look_ends_when_the_topic_takes_nothing(world: World) -> None:
    """Otherwise an outage's backlog would be tried pointer by pointer, each with its patience."""
    names = [f"user-{number}" for number in range(10 * 8 * HOPELESS)]
    for name in names:
        world.commit(name)
    world.clock.time = NOW + timedelta(minutes=5)
    tries: list[None] = []
    world.topic.on_publish = lambda: tries.append(None)
    world.topic.refusal = PublishFailure("Unavailable", permanent=False)
    world.look_everywhere()
    assert 0 < len(tries) <= 8 * HOPELESS
    world.topic.refusal = None
    world.look_everywhere()
    assert len(world.topic.published) == len(names)
