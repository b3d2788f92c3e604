"""The outbox port, as the relay uses it: the work that a crash may have left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import cycle
from random import sample
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from application.ports import CommandKey, OutboxEntry

Record_co = TypeVar("Record_co", covariant=True)
"""The record of a command that entries name: its outcome, with the events."""

SHARDS: Final = 8
"""Partitions of the outbox. One partition takes 1,000 write units a second, so eight take an entry
for each of 2,000 transactions a second."""


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """How much is in the outbox."""

    pending: int
    oldest: datetime | None
    parked: tuple[OutboxEntry, ...]
    unreadable: int = 0
    """Entries, pending or parked, that cannot be read at all; not counted in the other fields."""
    scheduled: int = 0
    """Final scrubs that are not due yet; they are neither pending nor late."""
    complete: bool = True
    """Whether all entries were counted."""


class OutboxPosition(NamedTuple):
    """A place in a shard of the outbox."""

    partition: str
    sort_key: str


@dataclass(frozen=True, slots=True)
class OutboxPage:
    """Entries of one shard, in order."""

    entries: tuple[OutboxEntry, ...]
    unreadable: tuple[OutboxPosition, ...] = ()
    """Positions of entries that cannot be read: damaged, or of a later format."""
    last: OutboxPosition | None = None
    """Position to continue after; `None` if this is the last page."""


@dataclass(frozen=True, slots=True)
class PointedOutcomes(Generic[Record_co]):
    """The outcomes that entries name. A key that is in none of the three fields is not stored."""

    found: Mapping[CommandKey, Record_co]
    unreadable: AbstractSet[CommandKey] = frozenset()
    """Stored, but damaged or of a later format."""
    unread: AbstractSet[CommandKey] = frozenset()
    """Not read because the store throttled them; whether they are stored is unknown."""


@dataclass(frozen=True, slots=True)
class ScrubPage:
    """Result of scrubbing one page of an erased user's items."""

    last: str | None = None
    """Position to continue after; `None` if this was the last page."""
    unreadable: int = 0
    """Outcomes that could not be read and were left unchanged."""


def shuffled_shards() -> Callable[[], int]:
    """Return a function that returns the shards to read, one per call, in an endless cycle.

    Each relay shuffles its own order, so that several relays seldom read the same shard at once. A
    cycle visits every shard; a random choice would leave no bound on the wait of one shard.
    """
    return cycle(sample(range(SHARDS), SHARDS)).__next__


def final_scrub(
    entry: OutboxEntry, due: datetime, render_time: Callable[[datetime], str]
) -> OutboxEntry:
    """Return the second scrub of a job, in the same shard, under the same id, due at `due`.

    `render_time` returns a time as it is written in sort keys, to the millisecond.
    """
    due = due.replace(microsecond=due.microsecond // 1000 * 1000)
    unique = entry.sort_key.rpartition("#")[2]
    return replace(
        entry,
        sort_key=f"{render_time(due)}#{unique}",
        recorded_at=due,
        attempts=0,
        touched_at=None,
        position=None,
        unreadable=0,
        final=True,
    )


class Outbox(Protocol[Record_co]):
    """The work that a crash may have left behind; see `OutboxEntry`."""

    def pending(
        self, before: datetime, limit: int = 10, after: OutboxPosition | None = None
    ) -> OutboxPage:
        """Read up to `limit` entries of one shard that were recorded before a time, oldest first.

        The shard is the next one of a shuffled cycle or, with `after`, the shard of that position,
        whether or not the entry there still exists.
        """
        ...

    def outcomes(self, entries: Sequence[OutboxEntry]) -> PointedOutcomes[Record_co]:
        """Read, consistently, the outcomes that entries name.

        Raises:
            StoreUnavailableError: no outcome could be read.
        """
        ...

    def close(self, entries: Sequence[OutboxEntry]) -> None:
        """Delete entries whose work is done; deleting one twice has no effect.

        A failure for one entry does not prevent deleting the others.

        Raises:
            StoreUnavailableError: some entries may still exist.
        """
        ...

    def update(self, old: OutboxEntry, new: OutboxEntry) -> bool:
        """Replace an entry by another state of the same entry; `new` may have another key.

        Return False, and change nothing, if `old` was closed, moved or changed in the meantime.

        Raises:
            StoreUnavailableError: exactly one of the two is stored, but it is unknown which.
        """
        ...

    def repeat_scrub(self, entry: OutboxEntry, due: datetime) -> bool:
        """Replace the first scrub of a job by the second one, due at `due`; see `update`."""
        ...

    def park(self, entry: OutboxEntry, reason: str) -> None:
        """Move an entry that cannot be processed to the parked entries, for an operator."""
        ...

    def unpark(self, entry: OutboxEntry) -> OutboxEntry | None:
        """Move a parked entry back to a shard that relays read, with zero attempts.

        Return the moved entry, or `None` if it is no longer parked.
        """
        ...

    def pages(self) -> Iterator[OutboxPage]:
        """Read all entries: every shard, oldest first, then the parked ones.

        Expensive; meant for an operator's command, not for a loop.
        """
        ...

    def oldest(self, size: int, *, parked: bool = False) -> Iterator[OutboxPage]:
        """Read the `size` oldest entries of each shard, or of the parked ones: one query each."""
        ...

    def may_scrub(self, user_id: str) -> bool:
        """Return False if a user exists and is not erased; read consistently.

        Otherwise a role that can write outbox entries could delete the sessions and the second
        factor of any user.

        Raises:
            StoreUnavailableError: the user could not be read.
        """
        ...

    def scrub(self, user_id: str, after: str | None = None) -> ScrubPage:
        """Remove personal data and sessions from one page of an erased user's items.

        Starts at the beginning, or after the position that an earlier call returned. Idempotent.

        Raises:
            StoreUnavailableError: part of the page may be unchanged; scrub it again.
        """
        ...

    def release(self, user_id: str, address: str) -> None:
        """Free an address that is held for an erased user; no effect if it is not held for them.

        Raises:
            StoreUnavailableError: the address may still be held.
        """
        ...

    def status(self, now: datetime | None = None, most: int | None = None) -> OutboxStatus:
        """Count pending entries and list parked ones; `now` is the present time if left out.

        With `most`, at most so many entries of each shard, and of the parked ones, are read.
        """
        ...
