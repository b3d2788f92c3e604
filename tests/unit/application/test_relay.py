from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.memory import MemoryEventPublisher, MemoryOutbox, MemoryStore, MemoryUserRepository
from application.event_topics import EventTopics
from application.messages import render_events
from application.outbox import OutboxPage, OutboxPosition, PointedOutcomes, ScrubPage
from application.ports import (
    Clock,
    CommandKey,
    EventMessage,
    JobKind,
    OutboxEntry,
    PublishFailure,
    StoreUnavailableError,
)
from application.relay import (
    GIVE_UP_AFTER,
    MAX_ATTEMPTS,
    SCRUB_SECONDS,
    TURN,
    Ending,
    Relay,
    RelayPolicy,
)
from application.repository import Outcome, Snapshot, UserChange
from application.rounds import decide_round
from domain.commands import AssignRole, EraseUser
from tests.builders import NOW, POLICY, register, uid, works
from tests.persistence import shards

AGE = timedelta(seconds=30)
SECOND = timedelta(minutes=15)
INTERNAL = PublishFailure("InternalError", permanent=False, answered=True)
UNAVAILABLE = PublishFailure("ServiceUnavailable", permanent=False)


class MovingClock(Clock):
    """A clock that the test moves."""

    time = NOW

    def now(self) -> datetime:
        """Return the time it was set to."""
        return self.time


class Topic(MemoryEventPublisher):
    """A topic that can refuse events."""

    def __init__(self) -> None:
        """Accept everything."""
        super().__init__()
        self.refusal: PublishFailure | None = None
        """Failure of all events."""
        self.refusal_of: dict[str, PublishFailure] = {}
        """Failure of one user's events, by user id."""
        self.breaks_calls: dict[str, PublishFailure | Exception] = {}
        """Failure or error of each call with an event of the user, by user id."""
        self.calls: list[int] = []
        """Number of events of each call."""
        self.on_publish: Callable[[], object] = lambda: None

    def publish(self, messages: Sequence[EventMessage]) -> dict[str, PublishFailure]:
        """Refuse what the test sets."""
        self.calls.append(len(messages))
        self.on_publish()
        whole = self.refusal
        for broken in (self.breaks_calls.get(message.user_id) for message in messages):
            if isinstance(broken, Exception):
                raise broken
            whole = whole or broken
        if whole:
            return dict.fromkeys((m.event_id for m in messages), whole)
        super().publish([m for m in messages if m.user_id not in self.refusal_of])
        return {
            m.event_id: self.refusal_of[m.user_id] for m in messages if m.user_id in self.refusal_of
        }


class DamagedOutbox(MemoryOutbox):
    """An outbox with entries and outcomes that cannot be read, like those of a later format."""

    def __init__(self, store: MemoryStore, choose_shard: Callable[[], int]) -> None:
        """Create it undamaged."""
        super().__init__(store, choose_shard)
        self.unreadable_entries: set[str] = set()
        """By sort key."""
        self.unreadable_users: set[str] = set()
        """Users whose outcomes are all unreadable, by id."""
        self.errors: dict[str, Exception] = {}
        """Error of reading or scrubbing a user's outcomes, by user id."""
        self.unread_users: set[str] = set()
        """By user id: the store throttles them."""
        self.close_error: Exception | None = None
        """Error of closing an entry."""
        self.update_error: Exception | None = None
        """Error of updating or parking an entry."""
        self.scrubbed: list[str] = []
        """User ids, one for each page."""
        self.on_scrub: Callable[[], object] = lambda: None

    def pending(
        self, before: datetime, limit: int = 10, after: OutboxPosition | None = None
    ) -> OutboxPage:
        """Return only the position of some entries."""
        page = super().pending(before, limit, after)
        bad = [p for p in page.entries if p.sort_key in self.unreadable_entries]
        return OutboxPage(
            tuple(entry for entry in page.entries if entry not in bad),
            tuple(OutboxPosition(entry.partition, entry.sort_key) for entry in bad),
            page.last,
        )

    def outcomes(self, entries: Sequence[OutboxEntry]) -> PointedOutcomes[Outcome]:
        """Return some outcomes as unreadable, and fail for others."""
        found = dict(super().outcomes(entries).found)
        for key in found:
            self._fail(key.user_id)
        bad = {key for key in found if key.user_id in self.unreadable_users}
        unread = {key for key in found if key.user_id in self.unread_users}
        rest = {key: found[key] for key in found.keys() - bad - unread}
        return PointedOutcomes(rest, bad, unread)

    def close(self, entries: Sequence[OutboxEntry]) -> None:
        """Fail if set."""
        if self.close_error:
            raise self.close_error
        super().close(entries)

    def update(self, old: OutboxEntry, new: OutboxEntry) -> bool:
        """Fail if set."""
        if self.update_error:
            raise self.update_error
        return super().update(old, new)

    def scrub(self, user_id: str, after: str | None = None) -> ScrubPage:
        """Leave some outcomes unchanged, and fail for others."""
        self._fail(user_id)
        self.scrubbed.append(user_id)
        self.on_scrub()
        page = super().scrub(user_id, after)
        return ScrubPage(page.last, int(user_id in self.unreadable_users))

    def _fail(self, user_id: str | None) -> None:
        if user_id in self.errors:
            raise self.errors[user_id]


class World:
    """A relay with its collaborators; each pass reads the next shard."""

    def __init__(self) -> None:
        """Create it with an empty outbox."""
        self.shards = shards()
        self.store = MemoryStore()
        self.clock = MovingClock()
        self.topic = Topic()
        self.outbox = DamagedOutbox(self.store, self.shards.__next__)
        self.relay = self.another_relay()

    def another_relay(self) -> Relay[Outcome]:
        """Create a relay that shares no memory with the first."""
        policy = RelayPolicy(0.01, AGE, second_scrub_after=SECOND)
        return Relay(self.outbox, self.topic, self.clock, policy, render_events)

    def commit(self, *names: str) -> list[Outcome]:
        """Commit registrations in one transaction, without publishing."""
        decided = decide_round(works(*((register(n), n) for n in names)), Snapshot(), POLICY, NOW)
        changes: list[UserChange] = [builder.change() for builder in decided.builders]
        report = MemoryUserRepository(self.store).commit(changes, NOW)
        assert not report.conflicts
        return [outcome for change in changes for outcome in change.outcomes]

    def look_everywhere(self, relay: Relay[Outcome] | None = None) -> int:
        """Make a pass over each shard; return how many entries were finished or advanced."""
        return sum((relay or self.relay).run_once() for _ in range(8))

    def wait(self, time: timedelta = timedelta(minutes=5)) -> None:
        """Advance the clock, by default by more than the age."""
        self.clock.time += time

    def fill_shard(self, count: int) -> None:
        """Commit so many registrations, with one entry each."""
        for n in range(count):
            self.commit(f"user{n}")

    @property
    def entries(self) -> list[OutboxEntry]:
        """The entries of the outbox, by partition and age."""
        return [self.store.entries[key] for key in sorted(self.store.entries)]

    def erase(self, name: str) -> None:
        """Commit an erasure without publishing."""
        user = MemoryUserRepository(self.store).get(uid(name))
        assert user is not None
        erasure = works((EraseUser(), name), name=f"erasure of {name}")
        [builder] = decide_round(erasure, Snapshot(users={uid(name): user}), POLICY, NOW).builders
        MemoryUserRepository(self.store).commit([builder.change()], NOW)


@pytest.fixture
def world() -> World:
    """An empty world."""
    return World()


def test_what_was_committed_and_not_published_is_published_once_it_is_old(world: World) -> None:
    """They have the ids that the batch would have used."""
    outcomes = world.commit("ada", "eve")
    world.look_everywhere()
    assert world.topic.published == []
    world.clock.time = NOW + AGE + timedelta(milliseconds=1)
    world.look_everywhere()
    assert [event.user_id for event in world.topic.published] == [o.user_id for o in outcomes]
    assert len({event.event_id for event in world.topic.published}) == 2
    assert world.store.entries == {}


def test_a_full_shard_is_worked_off_page_by_page(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage leaves more than one page."""
    monkeypatch.setattr("application.relay.PAGE", 10)
    for n in range(240):
        world.commit(f"u{n}")
    world.clock.time = NOW + timedelta(minutes=5)
    world.look_everywhere()
    assert len(world.topic.published) == 240
    assert world.store.entries == {}


def test_what_the_topic_cannot_take_now_stays(world: World) -> None:
    """SNS is unavailable: the entry waits for the next pass."""
    world.commit("ada")
    world.clock.time = NOW + timedelta(minutes=5)
    world.topic.refusal = PublishFailure("Throttled", permanent=False)
    world.look_everywhere()
    assert len(world.store.entries) == 1
    world.topic.refusal = None
    world.look_everywhere()
    assert world.store.entries == {}


@pytest.mark.usefixtures("one_shard")
def test_a_pass_reports_once_why_the_topic_rejects_events(world: World) -> None:
    """Without commands no batch logs it; a pass logs one line, however many events fail."""
    world.fill_shard(24)
    world.wait()
    world.topic.refusal = PublishFailure("AuthorizationError", permanent=False, shared=True)
    with capture_logs() as refused:
        world.look_everywhere()
    world.topic.refusal = None
    with capture_logs() as taken:
        world.look_everywhere()
    told = [line for line in refused if line["event"] == "publish_deferred"]
    assert [(line["events"], line["reasons"]) for line in told] == [(24, ["AuthorizationError"])]
    assert "publish_deferred" not in [line["event"] for line in taken]


def test_what_the_topic_refuses_for_its_content_is_parked(world: World) -> None:
    """An operator sees it, and it does not block the shard."""
    world.commit("ada")
    world.clock.time = NOW + timedelta(minutes=5)
    world.topic.refusal = PublishFailure("InvalidParameter", permanent=True)
    world.look_everywhere()
    [parked] = world.outbox.status().parked
    assert "InvalidParameter" in str(parked.parked_because)


def test_what_the_topic_refuses_does_not_keep_its_transactions_other_events(world: World) -> None:
    """They are published before the entry is parked, because no relay processes it afterwards."""
    world.commit("ada", "eve", "bob")
    world.clock.time = NOW + timedelta(minutes=5)
    world.topic.refusal_of = {
        uid("ada"): PublishFailure("InvalidParameter", permanent=True),
        uid("eve"): PublishFailure("Throttled", permanent=False),
    }
    world.look_everywhere()
    assert world.outbox.status().parked == ()
    assert len(world.store.entries) == 1
    del world.topic.refusal_of[uid("eve")]
    world.wait()
    world.look_everywhere()
    assert {event.user_id for event in world.topic.published} == {uid("bob"), uid("eve")}
    [parked] = world.outbox.status().parked
    assert "InvalidParameter" in str(parked.parked_because)


def test_a_pointer_whose_outcome_is_missing_is_parked_never_deleted(world: World) -> None:
    """It names an outcome that must exist."""
    world.commit("ada")
    world.store.outcomes.clear()
    world.clock.time = NOW + timedelta(minutes=5)
    world.look_everywhere()
    [parked] = world.outbox.status().parked
    assert "missing" in str(parked.parked_because)
    assert world.topic.published == []


def test_an_erased_users_data_are_scrubbed_twice_and_the_job_is_closed(world: World) -> None:
    """Including the events that were stored before."""
    world.commit("ada")
    world.erase("ada")
    world.wait()
    world.look_everywhere()
    stored = [event.data for outcome in world.store.outcomes.values() for event in outcome.events]
    assert stored == [{"email": None}, {}]
    [second] = world.entries
    assert (second.kind, second.final) == (JobKind.SCRUB, True)
    assert second.recorded_at == world.clock.time + SECOND
    assert world.outbox.status(world.clock.time).pending == 0
    world.wait(SECOND)
    world.look_everywhere()
    assert world.entries == [second]  # due, and of no age yet
    world.wait(AGE + timedelta(milliseconds=1))
    world.look_everywhere()
    assert world.entries == []


def test_what_was_written_after_the_first_scrub_is_scrubbed_by_the_second(world: World) -> None:
    """A batch that stalled between reads and commit wrote it, with a guessable fingerprint."""
    [late] = world.commit("ada")
    world.erase("ada")
    world.wait()
    world.look_everywhere()
    key = CommandKey(uid("ada"), uid("late"))
    world.store.outcomes[key] = replace(late, command_id=key.command_id, fingerprint="guessable")
    world.wait(SECOND + AGE + timedelta(seconds=1))
    world.look_everywhere()
    assert {outcome.fingerprint for outcome in world.store.outcomes.values()} == {""}
    assert world.entries == []


@pytest.fixture
def one_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put every entry into the same shard."""
    monkeypatch.setattr("adapters.memory.commit.random_shard", lambda: 0)


def published_to(world: World) -> set[str]:
    """Return the users about whom events were published."""
    return {event.user_id for event in world.topic.published}


STUCK = [f"stuck{n}" for n in range(23)]


@pytest.mark.usefixtures("one_shard")
@pytest.mark.parametrize(
    "what", ["pointer", "outcome", "scrub job", "bug", "bug in a scrub job", "outage"]
)
def test_what_is_stuck_blocks_nothing_behind_it(world: World, what: str) -> None:
    """In one pass, past more than a page of such entries, which stay for later."""
    for name in STUCK:
        world.commit(name)
    if "scrub job" in what:
        world.outbox.close([*world.store.entries.values()])
        for name in STUCK:
            world.erase(name)
        jobs = [p for p in world.store.entries.values() if p.kind is JobKind.SCRUB]
        world.outbox.close([p for p in world.store.entries.values() if p not in jobs])
    stuck = set(world.store.entries)
    ids = {uid(name) for name in STUCK}
    if what == "pointer":
        world.outbox.unreadable_entries = {sort_key for _, sort_key in stuck}
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
    assert set(world.store.entries) == stuck
    assert world.outbox.status().parked == ()
    unreadable = [line["pointers"] for line in logs if line["event"] == "outbox_unreadable"]
    told = [line["pointer"] for line in logs if line["event"].startswith("outbox_pointer_")]
    if what in {"pointer", "outcome", "scrub job"}:
        assert (unreadable, told) == ([len(STUCK)], [])
    else:
        assert (unreadable, len(told)) == ([], len(STUCK))
    world.outbox.unreadable_entries = world.outbox.unreadable_users = set()
    world.outbox.errors = {}
    for _ in range(2):  # for scrubs the second time
        world.wait(SECOND + AGE + timedelta(seconds=1))
        world.look_everywhere()
    assert world.store.entries == {}
    assert published_to(world) >= (set() if "scrub job" in what else ids)


@pytest.mark.usefixtures("one_shard")
def test_an_outcome_that_is_missing_beside_one_that_cannot_be_read_is_not_parked(
    world: World,
) -> None:
    """A worker that can read the one decides about both."""
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
def test_a_pass_ends_when_the_relay_is_stopped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of entries in the shard does not matter; the next relay continues."""
    monkeypatch.setattr("application.relay.TOGETHER", 10)
    world.fill_shard(23)
    world.wait()
    world.topic.on_publish = world.relay.stop
    assert world.relay.run_once() == 10
    assert len(world.store.entries) == 13


@pytest.mark.usefixtures("one_shard")
def test_a_pass_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of a shard is left to the next pass."""
    monkeypatch.setattr("application.relay.PAGE", 10)
    monkeypatch.setattr("application.relay.MAX_PAGES", 2)
    world.fill_shard(23)
    world.wait()
    assert [world.relay.run_once() for _ in range(9)] == [20, *[0] * 7, 3]


def test_the_thread_survives_errors_and_stops_on_request(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unavailable store, or a bug, does not end the relay."""
    looks: list[str] = []
    enough = threading.Event()

    def fail(*_: object) -> list[OutboxEntry]:
        looks.append("look")
        if len(looks) == 3:
            enough.set()
        raise StoreUnavailableError("down") if len(looks) % 2 else KeyError("a bug")

    monkeypatch.setattr(world.outbox, "pending", fail)
    world.relay.start()
    assert enough.wait(5)
    world.relay.stop()
    assert not any(thread.name == "relay" for thread in threading.enumerate())


# --- many entries in few calls ---------------------------------------------------------------


@pytest.mark.usefixtures("one_shard")
def test_entries_are_read_published_and_closed_together_in_their_order(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred commands at a time, in any entries."""
    closed: list[int] = []
    close = world.outbox.close

    def count(entries: Sequence[OutboxEntry]) -> None:
        closed.append(len(entries))
        close(entries)

    monkeypatch.setattr(world.outbox, "close", count)
    names = [f"user{n}" for n in range(250)]
    for name in names[:200]:
        world.commit(name)
    world.commit(*names[200:230])
    world.commit(*names[230:])
    world.wait()
    assert world.relay.run_once() == 202
    assert world.topic.calls == [100, 100, 50]
    assert closed == [100, 100, 2]
    assert [event.user_id for event in world.topic.published] == [uid(name) for name in names]


def test_after_progress_all_shards_are_looked_at_without_a_pause(world: World) -> None:
    """A backlog is processed at full speed; an idle relay reads one shard per interval."""
    assert 0.005 <= world.relay._pause_after(0) <= 0.015
    pauses = [world.relay._pause_after(worked) for worked in (1, 0, 0, 0, 0, 0, 0, 0, 0)]
    assert pauses[:8] == [0] * 8
    assert pauses[8] >= 0.005


@pytest.mark.usefixtures("one_shard")
def test_entries_whose_outcomes_are_throttled_are_left_and_the_others_go_on(world: World) -> None:
    """Their state is unknown, so they are neither parked nor counted."""
    world.commit("ada", "eve")
    world.commit("bob")
    world.outbox.unread_users = {uid("ada")}
    world.wait()
    assert world.relay.run_once() == 1
    assert published_to(world) == {uid("bob")}
    [left] = world.entries
    assert (left.attempts, left.parked_because) == (0, None)
    world.outbox.unread_users = set()
    assert world.look_everywhere() == 1
    assert world.entries == []


# --- entries that the topic refuses ----------------------------------------------------------


def refused_and_good(world: World, refused: int = 22, good: int = 60) -> tuple[set[str], set[str]]:
    """Commit entries of both kinds, the refused first; return the ids of their users."""
    bad = [f"refused{n}" for n in range(refused)]
    well = [f"good{n}" for n in range(good)]
    for name in bad + well:
        world.commit(name)
    world.wait()
    return {uid(name) for name in bad}, {uid(name) for name in well}


def test_refused_entries_hold_up_nothing_and_are_parked_with_the_reason(world: World) -> None:
    """All valid events are published in the first cycle, behind the refused ones."""
    bad, good = refused_and_good(world)
    world.topic.refusal_of = dict.fromkeys(bad, INTERNAL)
    world.look_everywhere()
    assert published_to(world) == good
    assert {entry.attempts for entry in world.entries} == {1}
    for _ in range(MAX_ATTEMPTS - 1):
        world.look_everywhere()  # too early: nothing is tried
        calls = len(world.topic.calls)
        world.look_everywhere()
        assert len(world.topic.calls) == calls
        world.wait(world.relay._policy.retry_delay(world.entries[0]))
        world.look_everywhere(world.another_relay())  # whichever relay: it is in the entry
    status = world.outbox.status()
    assert (status.pending, len(status.parked)) == (0, 22)
    reasons = {entry.parked_because for entry in status.parked}
    assert reasons == {"failed 5 times while others were published: InternalError"}


@pytest.mark.usefixtures("one_shard")
@pytest.mark.parametrize("how", ["its call fails", "its call raises"])
def test_an_event_that_breaks_its_call_is_found(world: World, how: str) -> None:
    """It is found by halving: the other events are published, and only this one is counted."""
    bad, good = refused_and_good(world, 3, 60)
    broken = UNAVAILABLE if how == "its call fails" else RuntimeError("refreshed but expired")
    world.topic.breaks_calls = dict.fromkeys(bad, broken)
    with capture_logs() as logs:
        world.relay.run_once()
    assert published_to(world) == good
    assert [entry.attempts for entry in world.entries] == [1] * 3
    assert {entry.commands[0].user_id for entry in world.entries} == bad
    failed = [line for line in logs if line["event"] == "outbox_pointer_failed"]
    assert len(failed) == (0 if how == "its call fails" else 3)


@pytest.mark.parametrize("refusal", [INTERNAL, UNAVAILABLE])
def test_in_an_outage_nothing_is_counted_or_parked(world: World, refusal: PublishFailure) -> None:
    """The duration does not matter, nor whether the topic answers for single events."""
    world.fill_shard(40)
    world.topic.refusal = refusal
    for _ in range(3 * MAX_ATTEMPTS):
        world.wait()
        world.look_everywhere()
    assert len(world.entries) == 40
    assert {(entry.attempts, entry.touched_at) for entry in world.entries} == {(0, None)}
    world.topic.refusal = None
    assert world.look_everywhere() == 40


@pytest.mark.parametrize("reason", ["Throttled", "KMSAccessDenied"])
def test_what_the_topic_refuses_for_its_rate_or_set_up_is_never_parked(
    world: World, reason: str
) -> None:
    """The entry is not the cause, whatever else is accepted."""
    bad, _ = refused_and_good(world, 8, 8)
    shared = PublishFailure(reason, permanent=False, answered=True, shared=True)
    world.topic.refusal_of = dict.fromkeys(bad, shared)
    for n in range(3 * MAX_ATTEMPTS):
        world.commit(f"more{n}")
        world.wait()
        world.look_everywhere()
    assert {entry.attempts for entry in world.entries} == {0}
    assert len(world.entries) == 8


@pytest.mark.usefixtures("one_shard")
def test_a_pass_gives_up_when_the_topic_accepts_nothing_and_the_next_goes_on_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So an outage is not tried entry by entry, and entries behind refused ones get a turn."""
    now = 0.0
    monkeypatch.setattr("application.relay.monotonic", lambda: now)
    monkeypatch.setattr("application.relay.PAGE", 10)
    monkeypatch.setattr("application.relay.TOGETHER", 10)
    bad, good = refused_and_good(world, 60, 5)
    world.topic.refusal_of = dict.fromkeys(bad, INTERNAL)

    def hang() -> None:
        nonlocal now
        now += GIVE_UP_AFTER * 0.6

    world.topic.on_publish = hang
    for looks in range(1, 4):
        world.look_everywhere()
        assert published_to(world) == set()
        assert len(world.topic.calls) == 2 * looks
    world.look_everywhere()
    assert published_to(world) == good


@pytest.mark.usefixtures("one_shard")
@pytest.mark.parametrize("error", [StoreUnavailableError("throttled"), RuntimeError("a bug")])
def test_what_is_published_and_cannot_be_closed_is_not_published_again(
    world: World, error: Exception
) -> None:
    """The same relay only tries to close it again."""
    world.fill_shard(20)
    world.wait()
    world.outbox.close_error = error
    with capture_logs() as logs:
        for _ in range(3):
            assert world.look_everywhere() == 0
    assert len(world.topic.published) == 20
    assert {line["event"] for line in logs} <= {"outbox_pointer_left", "outbox_pointer_failed"}
    world.outbox.close_error = None
    assert world.look_everywhere() == 20
    assert len(world.topic.published) == 20
    assert world.entries == []


@pytest.mark.usefixtures("one_shard")
@pytest.mark.parametrize("error", [StoreUnavailableError("throttled"), RuntimeError("a bug")])
def test_an_entry_that_cannot_be_marked_or_parked_holds_up_nothing(
    world: World, error: Exception
) -> None:
    """It delays neither other entries nor scrubs, and is retried."""
    world.commit("gone", "erased")
    world.erase("erased")
    gone = CommandKey(uid("gone"), uid("gone"))
    world.store.outcomes.pop(next(k for k in world.store.outcomes if k.user_id == gone.user_id))
    world.commit("refused")
    world.commit("good")
    world.topic.refusal_of = {uid("refused"): INTERNAL}
    world.outbox.update_error = error
    world.wait()
    world.look_everywhere()
    assert uid("good") in published_to(world)
    assert world.outbox.scrubbed == [uid("erased")]
    world.outbox.update_error = None
    world.look_everywhere()
    assert len(world.outbox.status().parked) == 1


def test_a_page_that_cannot_be_read_does_not_keep_the_pass_from_its_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read before is counted and scrubbed; the thread logs the error."""
    monkeypatch.setattr("application.relay.PAGE", 2)
    monkeypatch.setattr("adapters.memory.commit.random_shard", lambda: 0)
    world.commit("erased")
    world.erase("erased")
    world.outbox.close([p for p in world.entries if p.kind is JobKind.PUBLISH])
    for name in ("refused", "good", "more", "last"):
        world.commit(name)
    world.topic.refusal_of = {uid("refused"): INTERNAL}
    world.wait()
    pending = world.outbox.pending

    def breaks_off(before: datetime, limit: int, after: OutboxPosition | None = None) -> OutboxPage:
        if after is not None and len(world.topic.published) == 2:
            raise RuntimeError("a bug")
        return pending(before, limit, after)

    monkeypatch.setattr(world.outbox, "pending", breaks_off)
    with pytest.raises(RuntimeError):
        world.relay.run_once()
    assert world.outbox.scrubbed == [uid("erased")]
    assert [e.attempts for e in world.entries if e.kind is JobKind.PUBLISH] == [1, 0]


# --- scrubs ----------------------------------------------------------------------------------


def erased(world: World, name: str) -> OutboxEntry:
    """Erase a user, and return the scrub job alone."""
    world.commit(name)
    world.erase(name)
    world.outbox.close([p for p in world.entries if p.kind is JobKind.PUBLISH])
    return next(p for p in world.entries if p.commands[0].user_id == uid(name))


def with_past(world: World, name: str, outcomes: int) -> None:
    """Store so many outcomes of a user."""
    [first] = [o for o in world.store.outcomes.values() if o.user_id == uid(name)][:1]
    for n in range(outcomes):
        key = CommandKey(uid(name), uid(f"{name} {n}"))
        world.store.outcomes[key] = replace(first, command_id=key.command_id, fingerprint="f")


def fingerprints(world: World, name: str) -> int:
    """Count the outcomes of a user that are not scrubbed."""
    decided = [o for o in world.store.outcomes.values() if o.user_id == uid(name)]
    return sum(outcome.fingerprint != "" for outcome in decided)


@pytest.fixture
def slow_scrubs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page takes nearly half of the time of a slice; a page is ten outcomes."""
    now = 0.0

    def work() -> None:
        nonlocal now
        now += SCRUB_SECONDS * 0.4

    monkeypatch.setattr("application.relay.monotonic", lambda: now)
    world.outbox._page_size = 10
    world.outbox.on_scrub = work


@pytest.mark.usefixtures("one_shard", "slow_scrubs")
def test_events_are_published_before_a_scrub_gets_a_slice_of_time(world: World) -> None:
    """Although the job is older; the next slice continues where the first one ended."""
    erased(world, "ada")
    with_past(world, "ada", 100)
    world.commit("behind")
    world.wait()
    seen: list[set[str]] = []
    work = world.outbox.on_scrub

    def work_and_see() -> None:
        seen.append(published_to(world))
        work()

    world.outbox.on_scrub = work_and_see
    left = []
    for _ in range(4):
        world.relay.run_once()
        left.append(fingerprints(world, "ada"))
        world.commit(f"more{len(left)}")
        for _ in range(7):
            world.relay.run_once()  # the other shards
    assert seen[0] == {uid("behind")}
    assert left[:4] == [72, 42, 12, 0]
    assert len(seen) == 11
    assert [entry.final for entry in world.entries if entry.kind is JobKind.SCRUB] == [True]


@pytest.mark.usefixtures("one_shard", "slow_scrubs")
def test_another_relay_leaves_a_scrub_alone_that_was_touched_a_moment_ago(world: World) -> None:
    """It continues the scrub from its position if no relay has changed it for a while."""
    erased(world, "ada")
    with_past(world, "ada", 100)
    world.wait()
    other = world.another_relay()
    assert world.look_everywhere() == 1
    assert world.look_everywhere(other) == 0
    assert world.look_everywhere() == 1  # its own it continues at once
    assert fingerprints(world, "ada") == 42
    world.wait(max(AGE, TURN))
    assert world.look_everywhere(other) == 1
    assert fingerprints(world, "ada") == 12
    assert world.look_everywhere() == 0  # the first one has lost it


@pytest.mark.usefixtures("one_shard", "slow_scrubs")
def test_a_slice_that_was_overtaken_stores_no_position(world: World) -> None:
    """Two relays that read the job at the same time do a slice twice, which is harmless."""
    job = erased(world, "ada")
    with_past(world, "ada", 100)
    world.wait()
    first, _ = world.relay._scrub(job, 0)
    second, rest = world.another_relay()._scrub(job, float("inf"))
    assert (first, second, rest) == (Ending.ADVANCED, Ending.DONE, None)
    [left] = world.entries
    assert left.position is not None
    assert not left.final


@pytest.mark.usefixtures("one_shard", "slow_scrubs")
def test_a_large_scrub_holds_up_no_other(world: World) -> None:
    """Jobs of one shard take turns; one that no relay has changed comes first."""
    erased(world, "large")
    with_past(world, "large", 100)
    erased(world, "small")
    world.wait()
    world.outbox._page_size = 5
    world.look_everywhere()
    assert fingerprints(world, "small") == 2
    world.wait(timedelta(seconds=1))
    world.look_everywhere()
    assert fingerprints(world, "small") == 0
    assert fingerprints(world, "large") > 50


@pytest.mark.usefixtures("one_shard")
@pytest.mark.parametrize("error", [StoreUnavailableError("throttled"), RuntimeError("a bug")])
def test_a_scrub_that_fails_is_retried_with_growing_delays_and_never_parked(
    world: World, error: Exception
) -> None:
    """Its user may be throttled: this delays no other job, and the position is kept."""
    erased(world, "ada")
    erased(world, "eve")
    world.outbox.errors = {uid("ada"): error}
    tried: list[int] = []
    for _ in range(120):
        world.wait(timedelta(seconds=31))
        with capture_logs() as logs:
            world.look_everywhere()
        tried.append(sum(line["event"].startswith("outbox_pointer_") for line in logs))
    assert fingerprints(world, "eve") == 0
    assert 5 <= sum(tried) <= 15  # an hour: 30, 60, 120 ... 600 s
    assert tried[-1] + tried[-2] + sum(tried[-22:]) >= 1  # and it goes on
    assert world.outbox.status().parked == ()
    world.outbox.errors = {}
    world.wait(timedelta(minutes=11))
    world.look_everywhere()
    assert fingerprints(world, "ada") == 0


def test_each_page_of_a_scrub_is_a_sign_of_life(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow store does not make the relay look stuck."""
    beats: list[Any] = []
    monkeypatch.setattr(world.relay, "_beat", lambda: beats.append(len(world.outbox.scrubbed)))
    erased(world, "ada")
    with_past(world, "ada", 30)
    world.outbox._page_size = 10
    world.wait()
    world.look_everywhere()
    assert {1, 2, 3, 4} <= set(beats)


# --- two topics ------------------------------------------------------------------------------


class TwoTopics(World):
    """A relay that publishes on the ordinary `topic` and on the `personal` one."""

    def __init__(self) -> None:
        """Create both with no event."""
        self.personal = Topic()
        super().__init__()

    def another_relay(self) -> Relay[Outcome]:
        """Create a relay that shares no memory with the first."""
        policy = RelayPolicy(0.01, AGE, second_scrub_after=SECOND)
        return Relay(
            self.outbox, EventTopics(self.topic, self.personal), self.clock, policy, render_events
        )

    def commit_role(self, name: str) -> None:
        """Register a user whose event is published, and commit an event without an address."""
        self.commit(name)
        self.store.entries.clear()
        user = MemoryUserRepository(self.store).get(uid(name))
        assert user is not None
        role = works((AssignRole("admin"), name), name=f"role of {name}")
        [builder] = decide_round(role, Snapshot(users={uid(name): user}), POLICY, NOW).builders
        MemoryUserRepository(self.store).commit([builder.change()], NOW)


@pytest.fixture
def two() -> TwoTopics:
    """An empty world with two topics."""
    return TwoTopics()


OUTAGES = [
    UNAVAILABLE,
    PublishFailure("AuthorizationError", permanent=False, shared=True),
    PublishFailure("TopicMissingError", permanent=False, shared=True),
    RuntimeError("not a failure that the publisher knows"),
]


@pytest.mark.usefixtures("one_shard")
@pytest.mark.parametrize("outage", OUTAGES, ids=str)
def test_an_outage_of_the_personal_topic_delays_and_parks_nothing(
    two: TwoTopics, monkeypatch: pytest.MonkeyPatch, outage: PublishFailure | Exception
) -> None:
    """Other events are published meanwhile, and are no evidence against those that wait."""
    monkeypatch.setattr(two.personal, "publish", failing := Failing(outage))
    calls = 0
    for n in range(4 * MAX_ATTEMPTS):
        two.commit_role(f"user{n}")
        waiting = [two.commit(f"mail{n}-{each}") for each in range(2)]
        two.wait()
        two.look_everywhere()
        assert [e.user_id for e in two.topic.published].count(uid(f"user{n}")) == 1
        assert len(two.entries) == len(waiting)
        assert not any(entry.attempts or entry.parked_because for entry in two.entries)
        calls = failing.calls
        two.store.entries.clear()
    two.commit("ada")
    two.wait()
    two.look_everywhere()
    assert failing.calls > calls
    monkeypatch.undo()
    two.look_everywhere()
    assert two.entries == []
    assert [event.user_id for event in two.personal.published] == [uid("ada")]
    assert [event.user_id for event in two.topic.published].count(uid("ada")) == 1


class Failing:
    """A publisher's method that always fails."""

    def __init__(self, failure: PublishFailure | Exception) -> None:
        """Fail in this way."""
        self._failure = failure
        self.calls = 0

    def __call__(self, messages: Sequence[EventMessage]) -> dict[str, PublishFailure]:
        """Fail."""
        self.calls += 1
        if isinstance(self._failure, Exception):
            raise self._failure
        return dict.fromkeys((each.event_id for each in messages), self._failure)


@pytest.mark.usefixtures("one_shard")
def test_a_personal_topic_without_an_answer_does_not_end_a_pass(
    two: TwoTopics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events without addresses that are older or younger are published in the same pass."""
    now = 0.0

    def hang() -> None:
        nonlocal now
        now += GIVE_UP_AFTER + 1

    monkeypatch.setattr("application.relay.monotonic", lambda: now)
    two.relay = Relay(
        two.outbox,
        EventTopics(two.topic, two.personal, clock=lambda: now),
        two.clock,
        RelayPolicy(0.01, AGE),
        render_events,
    )
    two.personal.on_publish, two.personal.refusal = hang, UNAVAILABLE
    monkeypatch.setattr("application.relay.TOGETHER", 1)
    entries: dict[tuple[str, str], OutboxEntry] = {}
    for n in range(6):
        two.commit_role(f"user{n}")
        entries |= two.store.entries
        two.commit(f"mail{n}")
        entries |= two.store.entries
    two.store.entries.update(entries)
    two.wait()
    two.look_everywhere()
    published = {event.user_id for event in two.topic.published}
    assert {uid(f"user{n}") for n in range(6)} <= published
    assert len(two.personal.calls) <= 2
    assert {entry.kind for entry in two.entries} == {JobKind.PUBLISH}


def test_an_event_that_only_the_personal_topic_rejects_is_parked_with_the_reason(
    two: TwoTopics,
) -> None:
    """A person has to decide, as for the ordinary topic."""
    two.personal.refusal_of[uid("ada")] = PublishFailure("InvalidParameter", permanent=True)
    two.commit("ada")
    two.commit("eve")
    two.wait()
    two.look_everywhere()
    assert [entry.parked_because for entry in two.entries] == [
        "the topic rejects an event: personal topic: InvalidParameter"
    ]
    assert [event.user_id for event in two.personal.published] == [uid("eve")]


@pytest.mark.usefixtures("one_shard")
def test_an_event_that_breaks_its_calls_to_the_personal_topic_is_found(two: TwoTopics) -> None:
    """The others are published; it is parked once it has failed often enough beside them."""
    two.personal.breaks_calls[uid("bad")] = ValueError("strange")
    two.commit("bad")
    for n in range(MAX_ATTEMPTS):
        two.commit(f"good{n}")
        two.wait()
        two.look_everywhere()
        assert two.personal.published[-1].user_id == uid(f"good{n}")
    [parked] = two.entries
    assert parked.parked_because is not None
    assert "personal topic: ValueError" in parked.parked_because


@pytest.mark.usefixtures("one_shard")
def test_the_events_of_an_erased_user_are_published_on_the_ordinary_topic_only(
    two: TwoTopics,
) -> None:
    """A scrub that came before the relay has removed what the personal topic is for."""
    two.commit("ada")
    two.erase("ada")
    two.outbox.scrub(uid("ada"))
    two.wait()
    two.look_everywhere()
    assert [event.type.split(".")[2] for event in two.topic.published] == [
        "UserRegistered",
        "UserErased",
    ]
    assert two.personal.calls == []
