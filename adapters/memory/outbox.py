"""The outbox in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from adapters.memory.store import (
    PARKED,
    MemoryStore,
    copy_outcome,
    random_shard,
    shuffled_shards,
)
from domain.outbox import Outbox, OutboxPage, OutboxPosition, OutboxStatus, PointedOutcomes
from domain.ports import (
    Pointer,
)
from domain.values import render_time


class MemoryOutbox(Outbox):
    """The outbox in memory."""

    def __init__(self, store: MemoryStore, choose_shard: Callable[[], int] | None = None) -> None:
        """Share `store` with the repository that fills it."""
        self._store = store
        self._choose_shard = choose_shard or shuffled_shards()

    def pending(
        self, before: datetime, limit: int = 10, after: OutboxPosition | None = None
    ) -> OutboxPage:
        """See the port. Nothing here is unreadable."""
        start = after or OutboxPosition(str(self._choose_shard()), "")
        end = OutboxPosition(start.partition, render_time(before))
        with self._store.lock:
            keys = sorted(key for key in self._store.pointers if start < key < end)
            pointers = tuple(self._store.pointers[key] for key in keys[:limit])
        last = OutboxPosition(*keys[limit - 1]) if len(keys) > limit else None
        return OutboxPage(pointers, last=last)

    def outcomes(self, pointers: Sequence[Pointer]) -> PointedOutcomes:
        """See the port. Nothing here is unreadable."""
        named = {command for pointer in pointers for command in pointer.commands}
        with self._store.lock:
            stored = self._store.outcomes
            return PointedOutcomes({k: copy_outcome(stored[k]) for k in named if k in stored})

    def close(self, pointers: Sequence[Pointer]) -> None:
        """See the port."""
        with self._store.lock:
            for pointer in pointers:
                self._store.pointers.pop((pointer.partition, pointer.sort_key), None)

    def park(self, pointer: Pointer, reason: str) -> None:
        """See the port. One that somebody closed meanwhile is not parked."""
        parked = replace(pointer, partition=PARKED, parked_because=reason)
        with self._store.lock:
            if self._store.pointers.pop((pointer.partition, pointer.sort_key), None):
                self._store.pointers[PARKED, parked.sort_key] = parked

    def unpark(self, pointer: Pointer) -> Pointer | None:
        """See the port."""
        back = replace(pointer, partition=str(random_shard()), parked_because=None)
        with self._store.lock:
            if self._store.pointers.pop((pointer.partition, pointer.sort_key), None) is None:
                return None
            self._store.pointers[back.partition, back.sort_key] = back
        return back

    def pages(self) -> Iterator[OutboxPage]:
        """See the port. One page; nothing here is unreadable."""
        with self._store.lock:
            keys = sorted(self._store.pointers, key=lambda key: (key[0] == PARKED, key))
            pointers = tuple(self._store.pointers[key] for key in keys)
        yield OutboxPage(pointers)

    def scrub(self, user_id: str, on_page: Callable[[], object] = lambda: None) -> int:
        """See the port."""
        with self._store.lock:
            for owner, session_id in list(self._store.sessions):
                if owner == user_id:
                    del self._store.sessions[owner, session_id]
            self._store.two_factors.pop(user_id, None)
            for key, outcome in list(self._store.outcomes.items()):
                if outcome.user_id == user_id:
                    events = tuple(event.without_personal_data() for event in outcome.events)
                    self._store.outcomes[key] = replace(outcome, fingerprint="", events=events)
        on_page()
        return 0

    def status(self) -> OutboxStatus:
        """See the port."""
        with self._store.lock:
            pointers = self._store.pointers.values()
            parked = [p for p in pointers if p.partition == PARKED]
            times = [p.recorded_at for p in pointers if p.partition != PARKED]
        parked.sort(key=lambda pointer: pointer.sort_key)
        return OutboxStatus(len(times), min(times, default=None), tuple(parked))
