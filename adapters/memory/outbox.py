"""The outbox in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from adapters.memory.store import (
    PARKED,
    MemoryStore,
    copy_outcome,
    random_shard,
)
from application.outbox import (
    SHARDS,
    Outbox,
    OutboxPage,
    OutboxPosition,
    OutboxStatus,
    PointedOutcomes,
    ScrubPage,
    final_scrub,
    shuffled_shards,
)
from application.ports import OutboxEntry
from application.repository import Outcome
from domain.values import render_time

PAGE_SIZE: Final = 100
"""Outcomes that are scrubbed while the lock is held."""


class MemoryOutbox(Outbox[Outcome]):
    """The outbox in memory."""

    def __init__(
        self,
        store: MemoryStore,
        choose_shard: Callable[[], int] | None = None,
        page_size: int = PAGE_SIZE,
    ) -> None:
        """Share `store` with the repository that fills it; scrub `page_size` outcomes per page."""
        self._store = store
        self._page_size = page_size
        self._choose_shard = choose_shard or shuffled_shards()

    def pending(
        self, before: datetime, limit: int = 10, after: OutboxPosition | None = None
    ) -> OutboxPage:
        """See the port. No entry is unreadable."""
        start = after or OutboxPosition(str(self._choose_shard()), "")
        end = OutboxPosition(start.partition, render_time(before))
        with self._store.lock:
            keys = sorted(key for key in self._store.entries if start < key < end)
            entries = tuple(self._store.entries[key] for key in keys[:limit])
        last = OutboxPosition(*keys[limit - 1]) if len(keys) > limit else None
        return OutboxPage(entries, last=last)

    def outcomes(self, entries: Sequence[OutboxEntry]) -> PointedOutcomes[Outcome]:
        """See the port. No outcome is unreadable."""
        named = {command for entry in entries for command in entry.commands}
        with self._store.lock:
            stored = self._store.outcomes
            return PointedOutcomes({k: copy_outcome(stored[k]) for k in named if k in stored})

    def close(self, entries: Sequence[OutboxEntry]) -> None:
        """See the port."""
        with self._store.lock:
            for entry in entries:
                self._store.entries.pop((entry.partition, entry.sort_key), None)

    def update(self, old: OutboxEntry, new: OutboxEntry) -> bool:
        """See the port."""
        with self._store.lock:
            stored = self._store.entries.get((old.partition, old.sort_key))
            if stored is None or stored.touched_at != old.touched_at:
                return False
            del self._store.entries[old.partition, old.sort_key]
            self._store.entries[new.partition, new.sort_key] = new
        return True

    def repeat_scrub(self, entry: OutboxEntry, due: datetime) -> bool:
        """See the port."""
        return self.update(entry, final_scrub(entry, due, render_time))

    def park(self, entry: OutboxEntry, reason: str) -> None:
        """See the port. An entry that was closed in the meantime is not parked."""
        self.update(entry, replace(entry, partition=PARKED, parked_because=reason))

    def unpark(self, entry: OutboxEntry) -> OutboxEntry | None:
        """See the port."""
        back = replace(
            entry,
            partition=str(random_shard()),
            parked_because=None,
            attempts=0,
            touched_at=None,
        )
        return back if self.update(entry, back) else None

    def pages(self) -> Iterator[OutboxPage]:
        """See the port. One page; no entry is unreadable."""
        with self._store.lock:
            keys = sorted(self._store.entries, key=lambda key: (key[0] == PARKED, key))
            entries = tuple(self._store.entries[key] for key in keys)
        yield OutboxPage(entries)

    def oldest(self, size: int, *, parked: bool = False) -> Iterator[OutboxPage]:
        """See the port."""
        for partition in (PARKED,) if parked else map(str, range(SHARDS)):
            with self._store.lock:
                keys = sorted(key for key in self._store.entries if key[0] == partition)
                entries = tuple(self._store.entries[key] for key in keys[:size])
            yield OutboxPage(entries)

    def may_scrub(self, user_id: str) -> bool:
        """See the port."""
        with self._store.lock:
            user = self._store.users.get(user_id)
        return user is None or user.erased

    def scrub(self, user_id: str, after: str | None = None) -> ScrubPage:
        """See the port. A page has `page_size` outcomes; the first one deletes the sessions."""
        with self._store.lock:
            for owner, session_id in list(self._store.sessions):
                if owner == user_id:
                    del self._store.sessions[owner, session_id]
            self._store.two_factors.pop(user_id, None)
            rest = sorted(
                {
                    outcome.command_id
                    for outcome in self._store.outcomes.values()
                    if outcome.user_id == user_id and outcome.command_id > (after or "")
                }
            )
            page = rest[: self._page_size]
            of_page = set(page)
            for key, outcome in list(self._store.outcomes.items()):
                if outcome.user_id == user_id and outcome.command_id in of_page:
                    events = tuple(event.without_personal_data() for event in outcome.events)
                    self._store.outcomes[key] = replace(outcome, fingerprint="", events=events)
        return ScrubPage(page[-1] if len(rest) > len(page) else None)

    def release(self, user_id: str, address: str) -> None:
        """See the port."""
        with self._store.lock:
            if self._store.held.get(address) == user_id:
                del self._store.held[address], self._store.addresses[address]

    def status(self, now: datetime | None = None, most: int | None = None) -> OutboxStatus:  # noqa: ARG002
        """See the port; all entries are in memory, and so all are counted."""
        now = now or datetime.now(UTC)
        with self._store.lock:
            entries = list(self._store.entries.values())
        parked = [p for p in entries if p.partition == PARKED]
        parked.sort(key=lambda entry: entry.sort_key)
        pending = [p for p in entries if p.partition != PARKED]
        due = [p.recorded_at for p in pending if not p.final or p.recorded_at <= now]
        return OutboxStatus(
            pending=len(due),
            oldest=min(due, default=None),
            parked=tuple(parked),
            scheduled=len(pending) - len(due),
        )
