"""The outbox as its relay sees it: what a crash may have left to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from application.ports import CommandKey, OutboxEntry, Outcome
from domain.values import render_time

SHARDS: Final = 8
"""Partitions of the outbox. One takes 1,000 write units a second: eight take an entry for each of
2,000 transactions."""


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """How much is in the outbox."""

    pending: int
    oldest: datetime | None
    parked: tuple[OutboxEntry, ...]
    unreadable: int = 0
    """Pointers, pending or parked, of which not even that can be read; counted nowhere else."""
    scheduled: int = 0
    """Final scrubs that are not due yet; neither pending nor late."""


class OutboxPosition(NamedTuple):
    """A place in a shard of the outbox."""

    partition: str
    sort_key: str


@dataclass(frozen=True, slots=True)
class OutboxPage:
    """Pointers of one shard, in order."""

    entries: tuple[OutboxEntry, ...]
    unreadable: tuple[OutboxPosition, ...] = ()
    """Where pointers are that cannot be read: damaged, or of a later format."""
    last: OutboxPosition | None = None
    """Where to go on; `None`: nothing is behind this page."""


@dataclass(frozen=True, slots=True)
class PointedOutcomes:
    """The outcomes that pointers name; of one that is in none of these, nothing is stored."""

    found: Mapping[CommandKey, Outcome]
    unreadable: AbstractSet[CommandKey] = frozenset()
    """Stored, and damaged or of a later format."""
    unread: AbstractSet[CommandKey] = frozenset()
    """Not read now, because the store throttled them: nothing is known of them."""


@dataclass(frozen=True, slots=True)
class ScrubPage:
    """What became of one page of an erased user's items."""

    last: str | None = None
    """Position to continue after; `None`: nothing is behind this page."""
    unreadable: int = 0
    """Outcomes that could not be read and are unchanged."""


def final_scrub(entry: OutboxEntry, due: datetime) -> OutboxEntry:
    """Return the second scrub of a job, in the same shard and under the same id, due at a time."""
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


class Outbox(Protocol):
    """What a crash may have left to do; see `OutboxEntry`."""

    def pending(
        self, before: datetime, limit: int = 10, after: OutboxPosition | None = None
    ) -> OutboxPage:
        """Read pointers of one shard recorded before a time, oldest first, `limit` at most.

        The shard is the next of a shuffled round or, to go on, that of `after`, whether or not
        the pointer that was there still is.
        """
        ...

    def outcomes(self, entries: Sequence[OutboxEntry]) -> PointedOutcomes:
        """Read, consistently, the outcomes that pointers name.

        Raises:
            StoreUnavailableError: nothing is known of any of them.
        """
        ...

    def close(self, entries: Sequence[OutboxEntry]) -> None:
        """Delete pointers whose work is done; deleting one twice is harmless.

        Tries each of them, whatever becomes of the others.

        Raises:
            StoreUnavailableError: some may still be there.
        """
        ...

    def update(self, old: OutboxEntry, new: OutboxEntry) -> bool:
        """Replace a pointer by another state of it; `new` may have another key.

        Return False, and change nothing, if `old` was closed, moved or touched meanwhile.

        Raises:
            StoreUnavailableError: either may be stored; never both, and never none.
        """
        ...

    def park(self, entry: OutboxEntry, reason: str) -> None:
        """Set a pointer apart that cannot be worked off, for a person to see."""
        ...

    def unpark(self, entry: OutboxEntry) -> OutboxEntry | None:
        """Put a parked pointer back where a relay works it off, with no attempts counted.

        Return it as it is then, or `None` if it is no longer parked.
        """
        ...

    def pages(self) -> Iterator[OutboxPage]:
        """Read all there is: every shard, oldest first, then what is parked.

        For a person, not for a loop.
        """
        ...

    def scrub(self, user_id: str, after: str | None = None) -> ScrubPage:
        """Remove personal data and sessions from one page of an erased user's items.

        Starts at the beginning, or after a position that an earlier call returned. Idempotent.

        Raises:
            StoreUnavailableError: some of the page may be unchanged; scrub it again.
        """
        ...

    def status(self, now: datetime | None = None) -> OutboxStatus:
        """Count what is pending and list what is parked; `now` is the present time if left out."""
        ...
