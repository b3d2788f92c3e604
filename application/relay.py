"""The relay: publish events and scrub users that a crash left in the outbox.

Every worker runs one, without coordination: publishing an event twice is harmless, since its id
is stable, and a lease would be one more thing that a crash can leave behind.

One entry does not delay another: see docs/adr/0024-the-relay-isolates-entries.md.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from time import monotonic
from typing import Final, Generic, TypeVar

import structlog

from application.backoff import Draw
from application.health_source import ENDED, LONGEST_BATCH, HealthSource, LivenessCheck
from application.observer import NULL_OBSERVER, WorkerObserver
from application.outbox import (
    SHARDS,
    Outbox,
    OutboxPage,
    OutboxPosition,
    PointedOutcomes,
)
from application.ports import (
    Clock,
    EventMessage,
    EventPublisher,
    JobKind,
    OutboxEntry,
    PublishFailure,
    StoreUnavailableError,
    TopicKind,
)
from application.wording import counted

logger = structlog.get_logger(__name__)

Record = TypeVar("Record")

PAGE: Final = 100
"""Entries read at a time."""
MAX_PAGES: Final = 10
"""Pages per pass; the next pass on the shard continues after them."""
TOGETHER: Final = 100
"""Commands whose outcomes are read, published and closed together: one BatchGetItem."""
GIVE_UP_AFTER: Final = 10.0
"""Seconds without an accepted event after which a pass stops publishing."""
MAX_ATTEMPTS: Final = 5
"""Counted attempts before an entry is parked, each with up to four attempts of the publisher: about
a minute at the default age. An event that SNS rejects this often, while it accepts others, will not
be accepted later."""
SECOND_SCRUB_AFTER: Final = timedelta(minutes=15)
"""Time from the first scrub to the second. Longer than a signed request can be accepted: AWS
rejects signatures that are older."""
SCRUB_SECONDS: Final = 2.0
SCRUB_PAGES: Final = 20
"""Limits of a pass's work on scrubs, and of one slice, so that publishing is not delayed."""
TURN: Final = timedelta(seconds=10)
"""The minimum time for which an entry that another relay has changed is left to that relay."""
LONGEST_DELAY: Final = timedelta(minutes=10)
"""Maximum delay before the next attempt at a scrub, which is never parked."""
REMEMBERED: Final = 10_000
"""Maximum number of entries remembered in memory; forgetting one only repeats work."""


@dataclass(frozen=True, slots=True)
class RelayPolicy:
    """Interval of the passes, in seconds, and the age from which an entry is processed."""

    interval: float
    age: timedelta
    draw: Draw = random.uniform
    second_scrub_after: timedelta = SECOND_SCRUB_AFTER

    def retry_delay(self, entry: OutboxEntry) -> timedelta:
        """Return how long to wait after an entry's last counted attempt; doubles each time."""
        doubled: int = 2 ** min(max(entry.attempts, 1) - 1, 20)
        if entry.kind is JobKind.PUBLISH:
            return max(self.age / 10, timedelta(seconds=0.5)) * doubled
        return min(max(self.age, timedelta(seconds=1)) * doubled, LONGEST_DELAY)


class Ending(Enum):
    """Result of processing an entry."""

    DONE = auto()
    """Closed, or replaced by the second scrub: all requested work is done."""
    PARKED = auto()
    """Moved to the parked entries, for an operator."""
    ADVANCED = auto()
    """A scrub that continues in the next pass."""
    LEFT = auto()
    """Left for a later pass: the topic or the store cannot process it now."""
    UNREADABLE = auto()
    """For an operator or, if the format is a later one, for a newer worker."""


@dataclass(slots=True)
class _Pass:
    """The state of one pass over some entries."""

    now: datetime
    accepted_at: float
    """When the ordinary topic last accepted an event; initially, when the pass began. Monotonic."""
    accepted: set[TopicKind] = field(default_factory=set)
    """The topics that accepted an event."""
    endings: Counter[Ending] = field(default_factory=Counter)
    refused: bool = False
    """Whether an event was not accepted."""
    failed: list[tuple[OutboxEntry, PublishFailure]] = field(default_factory=list)
    """Entries to retry, each with a reason."""
    deferred: Counter[str] = field(default_factory=Counter)
    """Events to retry, by reason."""

    @property
    def unavailable(self) -> bool:
        """Whether the ordinary topic, which carries all events, is considered unavailable."""
        return self.refused and monotonic() - self.accepted_at > GIVE_UP_AFTER

    def note_accepted(
        self, messages: Sequence[EventMessage], failures: Mapping[str, PublishFailure]
    ) -> None:
        """Record which topics have accepted an event."""
        for message in messages:
            failure = failures.get(message.event_id)
            if failure is None:
                self.accepted.add(TopicKind.ORDINARY)
                if message.complete_body is not None:
                    self.accepted.add(TopicKind.PERSONAL)
            if failure is None or failure.topic is TopicKind.PERSONAL:
                self.accepted_at = monotonic()

    def defer(self, entry: OutboxEntry, failures: Sequence[PublishFailure]) -> None:
        """Leave an entry for a later pass, for the failure that is most specific to it."""
        self.deferred.update(failure.reason for failure in failures)
        most = max(failures, key=lambda failure: (not failure.shared, failure.answered))
        self.failed.append((entry, most))


class Relay(HealthSource, Generic[Record]):
    """Publish committed events that were not published, and scrub erased users."""

    def __init__(
        self,
        outbox: Outbox[Record],
        publisher: EventPublisher,
        clock: Clock,
        policy: RelayPolicy,
        render: Callable[[Record], Iterable[EventMessage]],
        *,
        observer: WorkerObserver = NULL_OBSERVER,
    ) -> None:
        """Set the ports and the policy, and how a record of the outbox is rendered as events.

        Nothing runs until `start`.
        """
        self._observer = observer
        self._outbox = outbox
        self._render_record = render
        self._publisher = publisher
        self._clock = clock
        self._policy = policy
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._beat_at = monotonic()
        self._issue: str | None = None
        self._eager_passes = 0
        """Passes to make without a pause."""
        self._retry_until = monotonic()
        """Time until which entries wait for their next attempt soon. Monotonic."""
        self._resume: dict[str, OutboxPosition] = {}
        """By partition: where the last pass stopped before the end."""
        self._published: dict[tuple[str, str], None] = {}
        """Entries whose events are published but which could not be closed."""
        self._own_scrubs: dict[tuple[str, str], datetime] = {}
        """Scrubs that this relay is processing, and when it last stored their progress."""

    # --- health ------------------------------------------------------------------------------

    def liveness_checks(self) -> Iterator[LivenessCheck]:
        """Yield the time since the last pass or progress, while it runs. Any thread."""
        if self._thread is not None and not self._stopping.is_set():
            age = monotonic() - self._beat_at if self._thread.is_alive() else ENDED
            yield LivenessCheck(
                "the relay has made no progress", age, LONGEST_BATCH + 2 * self._policy.interval
            )

    def readiness_issues(self) -> Iterator[str]:
        """Yield why the last pass could not read the outbox. Any thread."""
        if self._issue is not None:
            yield self._issue

    # --- the thread --------------------------------------------------------------------------

    def start(self) -> None:
        """Make passes over the outbox at intervals, in a thread."""
        self._thread = threading.Thread(target=self._loop, name="relay", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread after its current calls; wait for it at most `timeout` seconds."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _loop(self) -> None:
        pause = self._policy.interval * self._policy.draw(0.5, 1.5)
        while not self._stopping.wait(pause):
            self._beat()
            pause = self._pause_after(self._pass())

    def _pass(self) -> int:
        """Make one pass and catch every error; return how many entries were processed."""
        try:
            worked = self.run_once()
        except StoreUnavailableError as error:
            self._issue = "the outbox cannot be read: the store is unavailable"
            logger.warning("outbox_unavailable", reason=str(error))
        except Exception:  # the relay must survive any error
            self._issue = "the relay has failed: see the worker's log"
            logger.exception("relay_failed")
        else:
            self._issue = None
            return worked
        return 0

    def _pause_after(self, worked: int) -> float:
        """Return the seconds until the next pass.

        After progress, every shard is read once without a pause, so that a backlog is processed at
        full speed. While entries wait for another attempt, all shards together take one interval.
        """
        self._eager_passes = SHARDS if worked else max(0, self._eager_passes - 1)
        if self._eager_passes:
            return 0.0
        pause = self._policy.interval * self._policy.draw(0.5, 1.5)
        return pause / SHARDS if monotonic() < self._retry_until else pause

    def _beat(self) -> None:
        self._beat_at = monotonic()

    # --- passes ------------------------------------------------------------------------------

    def run_once(self) -> int:
        """Make a pass over the next shard; return how many entries were finished or advanced.

        All events that are due are published before any scrub runs. An entry that cannot be
        processed now is left, and the entries after it are processed all the same.

        Raises:
            StoreUnavailableError: the shard could not be read, or not to its end.
        """
        run = _Pass(self._clock.now(), monotonic())
        scrubs: list[OutboxEntry] = []
        broken_off: Exception | None = None
        try:
            self._publish_shard(run, scrubs)
        except Exception as error:  # noqa: BLE001 - raised below, after the independent work
            broken_off = error
        self._count_attempts(run)
        self._scrub_some(scrubs, run)
        self._report(run)
        if broken_off is not None:
            raise broken_off
        return run.endings[Ending.DONE] + run.endings[Ending.PARKED] + run.endings[Ending.ADVANCED]

    def work_off(
        self, entries: Iterable[OutboxEntry], progress: Callable[[int], object] = lambda _: None
    ) -> Counter[Ending]:
        """Process given entries now, scrubs to their end; return the results.

        Entries that are not reached because the topic is unavailable have no result. `progress` is
        called with the number of entries that were just tried.
        """
        run = _Pass(self._clock.now(), monotonic())
        scrubs: list[OutboxEntry] = []
        for chunk in _together(_without_scrubs(entries, scrubs)):
            if run.unavailable:
                break
            self._publish(chunk, run)
            progress(len(chunk))
        self._count_attempts(run)
        for entry in scrubs:
            ending, rest = self._scrub(entry, float("inf"))
            while rest is not None:
                ending, rest = self._scrub(rest, float("inf"))
            run.endings[ending] += 1
            progress(1)
        self._report(run)
        return run.endings

    def _publish_shard(self, run: _Pass, scrubs: list[OutboxEntry]) -> None:
        """Publish the due entries of a shard, page by page, and collect its scrubs."""
        page = self._first_page(run.now - self._policy.age)
        for number in range(1, MAX_PAGES + 1):
            self._beat()
            run.endings[Ending.UNREADABLE] += len(page.unreadable)
            due = [each for each in page.entries if self._is_due(each, run.now)]
            for chunk in _together(_without_scrubs(due, scrubs)):
                self._publish(chunk, run)
                if run.unavailable or self._stopping.is_set():
                    break
            if page.last is None:
                return
            if number == MAX_PAGES or run.unavailable or self._stopping.is_set():
                self._resume[page.last.partition] = page.last
                return
            page = self._read(run.now - self._policy.age, page.last)

    def _first_page(self, before: datetime) -> OutboxPage:
        """Read a shard from its beginning, or from where the last pass stopped."""
        page = self._read(before)
        after = self._resume.pop(page.last.partition, None) if page.last is not None else None
        return page if after is None else self._read(before, after)

    def _read(self, before: datetime, after: OutboxPosition | None = None) -> OutboxPage:
        page = self._outbox.pending(before, PAGE, after)
        self._observer.outbox_read(page, first=after is None)
        return page

    def _is_due(self, entry: OutboxEntry, now: datetime) -> bool:
        """Return False while an entry waits for its next attempt, or another relay processes it."""
        if entry.touched_at is None:
            return True
        if entry.attempts:
            delay = self._policy.retry_delay(entry)
        elif self._own_scrubs.get(_key(entry)) == entry.touched_at:
            return True
        else:
            delay = max(self._policy.age, TURN)
        # a time in the future comes from a wrong clock, so do not wait for it
        return not timedelta() <= now - entry.touched_at < delay

    def _report(self, run: _Pass) -> None:
        if run.endings[Ending.UNREADABLE]:
            logger.warning("outbox_unreadable", pointers=run.endings[Ending.UNREADABLE])
        if run.deferred:  # without this line, no log says why these events are pending
            reasons = sorted(run.deferred)
            logger.warning("publish_deferred", events=run.deferred.total(), reasons=reasons)

    # --- publishing --------------------------------------------------------------------------

    def _publish(self, entries: Sequence[OutboxEntry], run: _Pass) -> None:
        """Publish the events of entries together; if the whole call fails, try each half."""
        self._beat()
        try:
            unanswered = self._publish_together(entries, run)
        except Exception as error:  # noqa: BLE001 - one entry may cause it: find out which
            if len(entries) > 1 and monotonic() - run.accepted_at <= GIVE_UP_AFTER:
                self._publish_halves(entries, run)
                return
            self._failed(entries, error, run)
        else:
            if len(unanswered) > 1 and not run.unavailable:
                self._publish_halves(list(unanswered), run)
            else:
                for entry, failures in unanswered.items():
                    run.defer(entry, failures)

    def _publish_halves(self, entries: Sequence[OutboxEntry], run: _Pass) -> None:
        middle = len(entries) // 2
        self._publish(entries[:middle], run)
        self._publish(entries[middle:], run)

    def _publish_together(
        self, entries: Sequence[OutboxEntry], run: _Pass
    ) -> dict[OutboxEntry, list[PublishFailure]]:
        """Publish and close entries; return the entries whose whole call failed, with the reasons.

        Raises whatever a port raises before anything is recorded in `run`.
        """
        new = [entry for entry in entries if _key(entry) not in self._published]
        outcomes: PointedOutcomes[Record] = PointedOutcomes({})
        if new:
            outcomes = self._outbox.outcomes(new)
        endings, ready = self._render(new, outcomes)
        messages = [message for each in ready.values() for message in each]
        failures = self._publisher.publish(messages) if messages else {}
        run.note_accepted(messages, failures)
        unanswered: dict[OutboxEntry, list[PublishFailure]] = {}
        done = [entry for entry in entries if _key(entry) in self._published]
        for entry, events in ready.items():
            failed = [failures[m.event_id] for m in events if m.event_id in failures]
            if not failed:
                done.append(entry)
            elif all(failure.permanent for failure in failed):
                reasons = ", ".join(sorted({failure.reason for failure in failed}))
                self._park(entry, f"the topic rejects an event: {reasons}", run)
            else:
                # even beside a rejected event: once parked, no relay would publish the others
                run.refused = True
                passing = [failure for failure in failed if not failure.permanent]
                if any(failure.answered for failure in passing):
                    run.defer(entry, passing)
                else:
                    unanswered[entry] = passing
        for entry, ending in endings.items():
            if isinstance(ending, Ending):
                run.endings[ending] += 1
            else:
                self._park(entry, ending, run)
        self._close(done, sum(len(ready.get(entry, ())) for entry in done), run)
        return unanswered

    def _render(
        self, entries: Sequence[OutboxEntry], outcomes: PointedOutcomes[Record]
    ) -> tuple[dict[OutboxEntry, Ending | str], dict[OutboxEntry, list[EventMessage]]]:
        """Render the events of entries.

        Return the results of entries without events, or why they have to be parked; and the events
        of the others.
        """
        endings: dict[OutboxEntry, Ending | str] = {}
        ready: dict[OutboxEntry, list[EventMessage]] = {}
        for entry in entries:
            missing = [key for key in entry.commands if key not in outcomes.found]
            if not outcomes.unread.isdisjoint(missing):
                endings[entry] = Ending.LEFT  # belongs to a throttled user
            elif not outcomes.unreadable.isdisjoint(missing):
                endings[entry] = Ending.UNREADABLE
            elif missing:
                endings[entry] = counted(
                    len(missing), "of its outcomes is missing", "of its outcomes are missing"
                )
            else:
                found = [outcomes.found[key] for key in entry.commands]
                ready[entry] = [event for each in found for event in self._render_record(each)]
        return endings, ready

    def _close(self, done: Sequence[OutboxEntry], events: int, run: _Pass) -> None:
        if not done:
            return
        try:
            self._outbox.close(done)
        except Exception as error:  # noqa: BLE001 - the events are published; only closing failed
            self._log_error(done, error)
            if len(self._published) > REMEMBERED:
                self._published.clear()
            self._published.update(dict.fromkeys(map(_key, done)))
            run.endings[Ending.LEFT] += len(done)
            return
        self._observer.outbox_relayed(done)
        for entry in done:
            self._published.pop(_key(entry), None)
        run.endings[Ending.DONE] += len(done)
        commands = sum(len(entry.commands) for entry in done)
        logger.info("relayed", events=events, commands=commands, pointers=len(done))

    def _failed(self, entries: Sequence[OutboxEntry], error: Exception, run: _Pass) -> None:
        """Leave entries that could not be processed; count a single entry's error as an attempt."""
        self._log_error(entries, error)
        if isinstance(error, StoreUnavailableError) or len(entries) > 1:
            run.endings[Ending.LEFT] += len(entries)
        else:
            failure = PublishFailure(f"{type(error).__name__}, see the log", permanent=False)
            run.failed.append((entries[0], failure))

    def _log_error(self, entries: Sequence[OutboxEntry], error: Exception) -> None:
        fields = {"pointer": entries[0].sort_key, "pointers": len(entries)}
        if isinstance(error, StoreUnavailableError):
            logger.warning("outbox_pointer_left", reason=str(error), **fields)
        else:
            logger.error("outbox_pointer_failed", exc_info=error, **fields)

    def _park(self, entry: OutboxEntry, reason: str, run: _Pass) -> None:
        try:
            self._outbox.park(entry, reason)
        except Exception as error:  # noqa: BLE001 - parking is tried again in a later pass
            self._log_error([entry], error)
            run.endings[Ending.LEFT] += 1
            return
        self._observer.outbox_parked()
        run.endings[Ending.PARKED] += 1
        logger.error("outbox_pointer_parked", reason=reason, pointer=entry.sort_key)

    def _count_attempts(self, run: _Pass) -> None:
        """Count an attempt of each entry that failed, and park those that failed too often.

        Only failures of the entry itself count: the topic that failed accepted other events in this
        pass, or it did when the first attempt was counted and answers for this event again. While
        the whole topic is unavailable, nothing is counted and nothing is written.
        """
        for entry, failure in run.failed:
            own = failure.topic in run.accepted or (entry.attempts and failure.answered)
            if failure.shared or not own:
                run.endings[Ending.LEFT] += 1
                continue
            tried = replace(entry, attempts=entry.attempts + 1, touched_at=run.now)
            if tried.attempts >= MAX_ATTEMPTS:
                reason = f"failed {counted(tried.attempts, 'time')} while others were published"
                self._park(entry, f"{reason}: {failure.reason}", run)
                continue
            run.endings[Ending.LEFT] += 1
            if self._update(entry, tried):
                delay = self._policy.retry_delay(tried).total_seconds()
                until = monotonic() + delay + self._policy.interval
                self._retry_until = max(self._retry_until, until)

    def _update(self, old: OutboxEntry, new: OutboxEntry) -> bool:
        """Store another state of an entry; return False on an error or a concurrent change."""
        try:
            return self._outbox.update(old, new)
        except Exception as error:  # noqa: BLE001 - only the count of failures is lost
            self._log_error([old], error)
            return False

    # --- scrubbing ---------------------------------------------------------------------------

    def _scrub_some(self, entries: Sequence[OutboxEntry], run: _Pass) -> None:
        """Run slices of scrubs until the pass's time for scrubs is used up.

        Those that have waited longest come first, so that a large scrub, or one that fails, does
        not delay the others.
        """
        deadline = monotonic() + SCRUB_SECONDS
        for entry in sorted(entries, key=lambda each: each.touched_at or each.recorded_at):
            if self._stopping.is_set() or monotonic() >= deadline:
                break
            ending, _ = self._scrub(entry, deadline)
            run.endings[ending] += 1

    def _scrub(self, entry: OutboxEntry, deadline: float) -> tuple[Ending, OutboxEntry | None]:
        """Scrub some pages, until a monotonic time; return the result and the rest of the job."""
        user_id = next((key.user_id for key in entry.commands if key.user_id is not None), None)
        position, unreadable = entry.position, entry.unreadable
        try:
            if user_id is not None and not self._outbox.may_scrub(user_id):
                logger.warning("scrub_refused", user_id=user_id)
                self._outbox.close([entry])
                return Ending.DONE, None
            for _ in range(SCRUB_PAGES):
                if user_id is None:  # there is no user to scrub
                    break
                page = self._outbox.scrub(user_id, position)
                self._beat()
                position, unreadable = page.last, unreadable + page.unreadable
                if position is None or self._stopping.is_set() or monotonic() >= deadline:
                    break
        except Exception as error:  # noqa: BLE001 - the next attempt continues at this position
            self._log_error([entry], error)
            self._put_off(entry, position, unreadable)
            return Ending.LEFT, None
        if position is not None:
            touched = replace(
                entry,
                position=position,
                unreadable=unreadable,
                attempts=0,
                touched_at=self._clock.now(),
            )
            return self._advance(entry, touched)
        self._own_scrubs.pop(_key(entry), None)
        if unreadable:
            self._put_off(entry, None, 0)
            return Ending.UNREADABLE, None
        return self._finish_scrub(entry, user_id), None

    def _advance(
        self, entry: OutboxEntry, touched: OutboxEntry
    ) -> tuple[Ending, OutboxEntry | None]:
        """Store how far a scrub has come, so that any relay continues there."""
        if not self._update(entry, touched):
            self._own_scrubs.pop(_key(entry), None)
            return Ending.LEFT, None
        if len(self._own_scrubs) > REMEMBERED:
            self._own_scrubs.clear()
        if touched.touched_at is not None:
            self._own_scrubs[_key(touched)] = touched.touched_at
        return Ending.ADVANCED, touched

    def _put_off(self, entry: OutboxEntry, position: str | None, unreadable: int) -> None:
        """Count a failed attempt at a scrub; the next one comes after a growing delay."""
        counted = replace(
            entry,
            position=position,
            unreadable=unreadable,
            attempts=entry.attempts + 1,
            touched_at=self._clock.now(),
        )
        self._update(entry, counted)

    def _finish_scrub(self, entry: OutboxEntry, user_id: str | None) -> Ending:
        """Close a scrub that came to its end, or replace the first by the second one.

        A batch that stalled between its reads and its commit may write an outcome, with its
        fingerprint, after the first scrub has passed: the second one finds it.
        """
        try:
            now = self._clock.now()
            if entry.final and entry.recorded_at <= now:
                if entry.address is not None and user_id is not None:
                    self._outbox.release(user_id, entry.address)
                self._outbox.close([entry])
            else:
                due = now + self._policy.second_scrub_after
                self._outbox.repeat_scrub(entry, due)
        except Exception as error:  # noqa: BLE001 - it is scrubbed again, which is harmless
            self._log_error([entry], error)
            return Ending.LEFT
        logger.info("scrubbed", user_id=user_id, final=entry.final)
        return Ending.DONE


def _key(entry: OutboxEntry) -> tuple[str, str]:
    return entry.partition, entry.sort_key


def _without_scrubs(
    entries: Iterable[OutboxEntry], scrubs: list[OutboxEntry]
) -> Iterator[OutboxEntry]:
    """Yield the entries with events, and put the others into `scrubs`."""
    for entry in entries:
        if entry.kind is JobKind.SCRUB:
            scrubs.append(entry)
        else:
            yield entry


def _together(entries: Iterable[OutboxEntry]) -> Iterator[list[OutboxEntry]]:
    """Cut entries, in order, into groups of few enough commands; a larger entry is alone."""
    group: list[OutboxEntry] = []
    commands = 0
    for entry in entries:
        if group and commands + len(entry.commands) > TOGETHER:
            yield group
            group, commands = [], 0
        group.append(entry)
        commands += len(entry.commands)
    if group:
        yield group
