"""The data that the repository and the outbox in memory share."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import count
from random import randrange
from threading import RLock
from typing import Final

from application.outbox import SHARDS
from application.ports import CommandKey, OutboxEntry
from application.repository import BannedAddress, Outcome
from domain.sessions import Session
from domain.user import TwoFactor, User

PARKED: Final = "parked"


@dataclass(slots=True)
class MemoryStore:
    """The data that the repository and the outbox share."""

    lock: RLock = field(default_factory=RLock)
    users: dict[str, User] = field(default_factory=dict)
    """Without sessions and second factor, which are stored separately."""
    sessions: dict[tuple[str, str], Session] = field(default_factory=dict)
    two_factors: dict[str, TwoFactor] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    """The erased user by address key, of the addresses whose owner is `HELD`."""
    banned: dict[str, BannedAddress] = field(default_factory=dict)
    outcomes: dict[CommandKey, Outcome] = field(default_factory=dict)
    entries: dict[tuple[str, str], OutboxEntry] = field(default_factory=dict)
    serial: Callable[[], int] = field(default_factory=lambda: count().__next__)


def copy_outcome(outcome: Outcome) -> Outcome:
    """Return a copy of an outcome, including the data of its events."""
    return replace(outcome, events=tuple(replace(e, data=deepcopy(e.data)) for e in outcome.events))


def random_shard() -> int:
    """Return a random shard for a new entry."""
    return randrange(SHARDS)  # noqa: S311 - no secret
