"""The outbox as its relay sees it: what a crash may have left to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from domain.ports import CommandKey, Outcome, Pointer


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """How much is in the outbox."""

    pending: int
    oldest: datetime | None
    parked: tuple[Pointer, ...]
    unreadable: int = 0
    """Pointers, pending or parked, of which not even that can be read; counted nowhere else."""


class OutboxPosition(NamedTuple):
    """A place in a shard of the outbox."""

    partition: str
    sort_key: str


@dataclass(frozen=True, slots=True)
class OutboxPage:
    """Pointers of one shard, in order."""

    pointers: tuple[Pointer, ...]
    unreadable: tuple[OutboxPosition, ...] = ()
    """Where pointers are that cannot be read: damaged, or of a later format."""
    last: OutboxPosition | None = None
    """Where to go on; `None`: nothing is behind this page."""


@dataclass(frozen=True, slots=True)
class PointedOutcomes:
    """The outcomes that pointers name; of one that is in neither, nothing is stored."""

    found: Mapping[CommandKey, Outcome]
    unreadable: AbstractSet[CommandKey] = frozenset()
    """Stored, and damaged or of a later format."""


class Outbox(Protocol):
    """What a crash may have left to do; see `Pointer`."""

    def pending(
        self, before: datetime, limit: int = 10, after: OutboxPosition | None = None
    ) -> OutboxPage:
        """Read pointers of one shard recorded before a time, oldest first, `limit` at most.

        The shard is the next of a shuffled round or, to go on, that of `after`, whether or not
        the pointer that was there still is.
        """
        ...

    def outcomes(self, pointers: Sequence[Pointer]) -> PointedOutcomes:
        """Read, consistently, the outcomes that pointers name."""
        ...

    def close(self, pointers: Sequence[Pointer]) -> None:
        """Delete pointers whose work is done; deleting one twice is harmless."""
        ...

    def park(self, pointer: Pointer, reason: str) -> None:
        """Set a pointer apart that cannot be worked off, for a person to see."""
        ...

    def unpark(self, pointer: Pointer) -> Pointer | None:
        """Put a parked pointer back where a relay works it off; give it as it is then.

        `None`: it is not parked any more.
        """
        ...

    def pages(self) -> Iterator[OutboxPage]:
        """Read all there is: every shard, oldest first, then what is parked.

        For a person, not for a loop.
        """
        ...

    def scrub(self, user_id: str, on_page: Callable[[], object] = lambda: None) -> int:
        """Remove personal data and sessions of an erased user, page by page; idempotent.

        Says that it goes on by calling `on_page`, since there may be thousands of pages.
        Gives how many outcomes could not be read and are as they were: the job is not done.
        """
        ...

    def status(self) -> OutboxStatus:
        """Count what is pending and list what is parked."""
        ...
