"""What repository and outbox share."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import count, cycle
from random import randrange, sample
from threading import RLock
from typing import Final

from application.outbox import SHARDS
from application.ports import CommandKey, OutboxEntry, Outcome
from domain.model import Session, TwoFactor, User

PARKED: Final = "parked"


@dataclass(slots=True)
class MemoryStore:
    """What repository and outbox share."""

    lock: RLock = field(default_factory=RLock)
    users: dict[str, User] = field(default_factory=dict)
    """Without sessions and second factor, as all that is stored apart."""
    sessions: dict[tuple[str, str], Session] = field(default_factory=dict)
    two_factors: dict[str, TwoFactor] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    outcomes: dict[CommandKey, Outcome] = field(default_factory=dict)
    entries: dict[tuple[str, str], OutboxEntry] = field(default_factory=dict)
    serial: Callable[[], int] = field(default_factory=lambda: count().__next__)


def copy_outcome(outcome: Outcome) -> Outcome:
    """Copy an outcome, with its events' data."""
    return replace(outcome, events=tuple(replace(e, data=deepcopy(e.data)) for e in outcome.events))


def random_shard() -> int:
    """Choose the shard of a new pointer."""
    return randrange(SHARDS)  # noqa: S311 - no secret


def shuffled_shards() -> Callable[[], int]:
    """Give the shards to look at, each in its turn, over and over."""
    return cycle(sample(range(SHARDS), SHARDS)).__next__
