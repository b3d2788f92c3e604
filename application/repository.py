"""The port of the store of users, and its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from application.ports import CommandKey, OutboxEntry
from domain.errors import RejectionCode
from domain.events import RecordedEvent
from domain.sessions import Session
from domain.user import TwoFactor, User
from domain.values import EmailAddress

HELD: Final = ""
"""Owner of an address whose user was erased while banned, until the scrub job releases it."""


class Status(StrEnum):
    """The result of a command."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The recorded result of a command, by which it is never decided twice."""

    command_id: str
    command_type: str
    user_id: str | None
    """`None`: the command named an e-mail address that no user has."""
    by_email: bool
    """Whether a second record exists under the command id alone."""
    fingerprint: str
    """Keyed hash of the command (`KeyRing.fingerprint`); empty once its user is erased."""
    status: Status
    code: RejectionCode | None
    events: tuple[RecordedEvent, ...]
    version: int
    """The aggregate's version after the command; 0 without a user."""
    recorded_at: datetime
    expires_at: datetime
    source: str
    correlation_id: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    actor: str | None = None
    """On whose behalf the command was sent, as its sender stated."""
    producer: str | None = None
    """The producer of the permissions file that sent the command."""
    principal: str | None = None
    """The unique id of the role or user that sent it."""

    def reference(self) -> Outcome:
        """Return the record under the command id alone, without events and origin."""
        return replace(
            self,
            events=(),
            correlation_id=None,
            traceparent=None,
            tracestate=None,
            actor=None,
            producer=None,
            principal=None,
        )

    @property
    def place(self) -> tuple[datetime, int, str]:
        """Position in the user's history: a later outcome compares greater."""
        return self.recorded_at, self.version, self.command_id

    @property
    def lasting_fingerprint(self) -> str:
        """The fingerprint to store: empty for a command to a user who is already erased.

        It is derived from personal data, and no scrub job follows.
        """
        return "" if self.code is RejectionCode.USER_ERASED else self.fingerprint


READ_FIRST_BELOW: Final = "03"
"""Command ids below it come first in `UserRepository.outcome_page`: each UUIDv7 of a time before
2074, and 3 of 256 other ids."""


class OutcomePage(NamedTuple):
    """Some of a user's outcomes, in the order of `UserRepository.outcome_page`."""

    outcomes: list[Outcome]
    last: str | None
    """The command id to continue after; `None` if no outcome follows."""


@dataclass(frozen=True, slots=True)
class BannedAddress:
    """A ban that outlives the erasure of its user; contains no address."""

    address_hash: str
    """Keyed hash of `EmailAddress.key`."""
    user_id: str
    """The erased user."""
    until: datetime | None
    """The end of the ban; `None`: permanent."""

    def is_in_force(self, now: datetime) -> bool:
        """Return True if the ban has not expired."""
        return self.until is None or self.until > now


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """The items that a round of commands needs, each once."""

    users: AbstractSet[str] = frozenset()
    sessions: AbstractSet[tuple[str, str]] = frozenset()
    """Pairs of user id and session id."""
    two_factors: AbstractSet[str] = frozenset()
    """User ids."""
    addresses: AbstractSet[str] = frozenset()
    """Keys of addresses (`EmailAddress.key`)."""
    banned: AbstractSet[str] = frozenset()
    """Hashes of addresses (`BannedAddress.address_hash`)."""
    outcomes: AbstractSet[CommandKey] = frozenset()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Stored items, read consistently one by one; an item that is absent is not stored."""

    users: dict[str, User] = field(default_factory=dict)
    """With the requested sessions and second factor. Fresh copies, which the caller may change."""
    addresses: dict[str, str] = field(default_factory=dict)
    """The owner's user id by address key; `HELD` for an address that is not released yet."""
    banned: dict[str, BannedAddress] = field(default_factory=dict)
    """By hash of the address, including bans that have expired."""
    outcomes: dict[CommandKey, Outcome] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    """Stored items that cannot be parsed (damaged, or of a later format), by user id, by command id
    (for commands by e-mail address), by address key or by hash of an address. Only commands that
    need them are retried."""
    unread: set[str] = field(default_factory=set)
    """Items that the store did not return because it throttles them; keys as in `unreadable`."""


@dataclass(frozen=True, slots=True)
class UserChange:
    """Everything that one user's commands of a round write, atomically."""

    user_id: str | None
    """`None`: only the outcome of a command by an e-mail address that no user has."""
    outcomes: tuple[Outcome, ...]
    """One outcome per command, in order; written on the condition that it does not exist."""
    read_version: int = 0
    """The stored version that the change is based on, 0 if there was no user; condition of
    `user`."""
    user: User | None = None
    """The final state; `None` if the commands changed nothing."""
    saved_sessions: tuple[Session, ...] = ()
    """Sessions to write with revision + 1, on the condition that the stored revision is this one
    (0: that the session does not exist)."""
    removed_sessions: tuple[Session, ...] = ()
    """Sessions to delete, on the condition that the stored revision is this one."""
    saved_two_factor: TwoFactor | None = None
    """Written as a saved session."""
    removed_two_factor: TwoFactor | None = None
    """Deleted as a removed session."""
    claimed: EmailAddress | None = None
    """An address to claim, on the condition that no user has it."""
    released: EmailAddress | None = None
    """An address to release, on the condition that this user has it."""
    held: EmailAddress | None = None
    """An address to hold until the final scrub releases it, on the condition that this user has it.

    A batch does not read an address and its ban at the same moment. If the address were released in
    the transaction that stores the ban, a batch could read before it that there is no ban, and
    after it that the address has no owner. A commit is sent 20 seconds after its reads at the
    latest (`FACTS_LIFETIME`), and AWS rejects requests whose signature is older than 15 minutes.
    The address is held for longer, so a registration that finds it free has read the ban.
    """
    banned: BannedAddress | None = None
    """A ban to store that outlives its user; replaces another one for the same address."""
    unbanned: str | None = None
    """The hash of an address whose ban is to be deleted."""
    scrub: bool = False
    """Whether to add a scrub job to the outbox in the same transaction."""


class Conflict(StrEnum):
    """Why a change was not committed: the commands have to be read and decided again."""

    DUPLICATE = "duplicate"
    """An outcome of one of the commands already exists."""
    STALE = "stale"
    """The user, a session or the second factor has changed since it was read."""
    ADDRESS_TAKEN = "address_taken"
    """Another user has the claimed address, or this user no longer has the released one."""
    CONTENTION = "contention"
    """Another transaction is writing the same items."""


@dataclass(frozen=True, slots=True)
class CommitReport:
    """Result of each change, by its index; a change in neither mapping is committed."""

    entries: tuple[OutboxEntry, ...]
    """Entries of kind publish, one per committed transaction; scrub jobs are not listed."""
    conflicts: Mapping[int, Conflict] = field(default_factory=dict)
    failures: Mapping[int, Exception] = field(default_factory=dict)
    """Changes that are not committed, or not known to be: StoreUnavailableError if a retry may
    help, ThrottledError if only the items of this change are throttled."""


class UserRepository(Protocol):
    """The users, their addresses and the outcomes of their commands."""

    def get(self, user_id: str) -> User | None:
        """Read one user, consistently, without sessions and second factor."""
        ...

    def get_many(self, user_ids: Sequence[str]) -> dict[str, User]:
        """Read several users; those that do not exist are absent."""
        ...

    def get_by_email(self, email: EmailAddress) -> User | None:
        """Read the user who has an address, consistently."""
        ...

    def history(
        self, user_id: str, limit: int = 100, before: Outcome | None = None
    ) -> list[Outcome]:
        """Read the user's outcomes, latest first; with `before`, only those before that outcome.

        Reads all outcomes of the user, whatever the limit: for a bounded read see `outcome_page`.
        """
        ...

    def outcome_page(self, user_id: str, size: int, after: str | None = None) -> OutcomePage:
        """Read up to `size` of the user's outcomes, consistently; `after` is a page's `last`.

        The order is that of descending command ids, those below `READ_FIRST_BELOW` first. This is
        latest first for ids that are UUIDv7, also if other ids are among them. A page may be
        shorter than `size` although more outcomes follow.
        """
        ...

    def outcome(self, key: CommandKey) -> Outcome | None:
        """Read the outcome of a command, consistently."""
        ...

    def load(self, request: LoadRequest) -> Snapshot:
        """Read everything a round needs in as few calls as possible.

        Items that the store throttles are named in `Snapshot.unread`; the others are read.

        Raises:
            ThrottledError: the store throttles all of the items.
            StoreUnavailableError: no item could be read; retry later.
        """
        ...

    def commit(self, changes: Sequence[UserChange], now: datetime) -> CommitReport:
        """Commit each change completely or not at all, in as few transactions as possible.

        A conflict of one change does not prevent the others from being committed. Never raises for
        an answer of the store: it is part of the report.
        """
        ...
