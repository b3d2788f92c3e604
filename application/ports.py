"""What the domain asks of the world: a store of users, a publisher, a clock. See `outbox` too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

from domain.errors import RejectionCode
from domain.events import RecordedEvent
from domain.model import Session, TwoFactor, User
from domain.values import EmailAddress


class StoreUnavailableError(Exception):
    """A store or a topic cannot serve now (throttled, down, timed out): try again later."""


class ThrottledError(StoreUnavailableError):
    """The store is up, but throttles the items that were asked for: try these again later."""


class CommandKey(NamedTuple):
    """Under what a command's outcome is kept: its user and its id.

    `user_id` is `None` for the record that a command naming its user by e-mail address leaves
    under its id alone.
    """

    user_id: str | None
    command_id: str


class Status(StrEnum):
    """How a command ended."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one command ended, kept so that it is never decided twice."""

    command_id: str
    command_type: str
    user_id: str | None
    """`None`: named by an e-mail address that nobody has."""
    by_email: bool
    """Whether a second record, under the command's id alone, says the same."""
    fingerprint: str
    status: Status
    code: RejectionCode | None
    events: tuple[RecordedEvent, ...]
    version: int
    """The aggregate's version after the command; 0 where there is no user."""
    recorded_at: datetime
    expires_at: datetime
    source: str
    correlation_id: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None

    @property
    def place(self) -> tuple[datetime, int, str]:
        """Where it stands in its user's history: what is later is greater."""
        return self.recorded_at, self.version, self.command_id

    @property
    def lasting_fingerprint(self) -> str:
        """The fingerprint to store: none of a command to a user who is erased already.

        It is of personal data, some could be guessed from it, and no scrub job comes after it.
        """
        return "" if self.code is RejectionCode.USER_ERASED else self.fingerprint


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What a round of commands needs to know; nothing twice."""

    users: AbstractSet[str] = frozenset()
    sessions: AbstractSet[tuple[str, str]] = frozenset()
    """Pairs of user id and session id."""
    two_factors: AbstractSet[str] = frozenset()
    """User ids."""
    addresses: AbstractSet[str] = frozenset()
    """Keys of addresses (`EmailAddress.key`)."""
    outcomes: AbstractSet[CommandKey] = frozenset()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was stored, read consistently item by item; what is absent is not stored."""

    users: dict[str, User] = field(default_factory=dict)
    """With the sessions and the second factor that were asked for. Fresh copies: the caller's."""
    addresses: dict[str, str] = field(default_factory=dict)
    """Owner's user id by address key."""
    outcomes: dict[CommandKey, Outcome] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    """Ids of users (and of commands that name theirs by address) and keys of addresses of which
    something is stored that cannot be read: damaged, or of a later format. Only commands that
    need them have to come back."""
    unread: set[str] = field(default_factory=set)
    """As `unreadable`: what the store did not read this time, since it throttles these items."""


@dataclass(frozen=True, slots=True)
class UserChange:
    """All that one user's commands of a round write, together or not at all."""

    user_id: str | None
    """`None`: only the outcome of a command by an e-mail address that nobody has."""
    outcomes: tuple[Outcome, ...]
    """One a command, in order; written on the condition that there is none yet."""
    read_version: int = 0
    """The stored version this was decided on, 0 when there was no user; condition of `user`."""
    user: User | None = None
    """The final state; `None` when the commands changed none."""
    saved_sessions: tuple[Session, ...] = ()
    """To write with revision + 1, on the condition that the stored revision is this one
    (0: that there is none)."""
    removed_sessions: tuple[Session, ...] = ()
    """To delete, on the condition that the stored revision is this one."""
    saved_two_factor: TwoFactor | None = None
    """As a saved session."""
    removed_two_factor: TwoFactor | None = None
    """As a removed session."""
    claimed: EmailAddress | None = None
    """An address to take, on the condition that nobody has it."""
    released: EmailAddress | None = None
    """An address to give up, on the condition that it is the user's."""
    scrub: bool = False
    """Whether a scrub job has to go to the outbox in the same transaction."""


class Conflict(StrEnum):
    """Why a change was not committed: read again and decide again."""

    DUPLICATE = "duplicate"
    """An outcome of one of its commands exists."""
    STALE = "stale"
    """The user, a session or the second factor is not as it was read."""
    ADDRESS_TAKEN = "address_taken"
    """Somebody has the claimed address (or the released one is not the user's)."""
    CONTENTION = "contention"
    """Another transaction is writing the same items."""


class JobKind(StrEnum):
    """What an outbox pointer asks for."""

    PUBLISH = "publish"
    SCRUB = "scrub"


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """An entry of the outbox: events that may still have to be published, or a scrub job."""

    partition: str
    sort_key: str
    kind: JobKind
    commands: tuple[CommandKey, ...]
    """Of one transaction; for a scrub job, one key with the erased user."""
    recorded_at: datetime
    """For a final scrub, the time from which it is due."""
    parked_because: str | None = None
    attempts: int = 0
    """Failed attempts that were counted since the last progress."""
    touched_at: datetime | None = None
    """When a relay last stored an attempt or a position in the entry."""
    position: str | None = None
    """Sort key of the last of the user's items that this scrub has passed."""
    unreadable: int = 0
    """Outcomes that this scrub could not read on its way to `position`."""
    final: bool = False
    """Whether this is the second scrub, after which the job is done."""


@dataclass(frozen=True, slots=True)
class CommitReport:
    """What became of each change, by its index; whatever is in neither dict is committed."""

    entries: tuple[OutboxEntry, ...]
    """Kind publish, one a committed transaction; scrub jobs are the relay's and not listed."""
    conflicts: Mapping[int, Conflict] = field(default_factory=dict)
    failures: Mapping[int, Exception] = field(default_factory=dict)
    """Not committed, or not known to be: StoreUnavailableError when trying later may help, and
    ThrottledError when only the items of this change are throttled."""


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

    def get_by_refresh_token(self, refresh_token_hash: str) -> User | None:
        """Read the user and the session (in `sessions`) whose current token it is.

        Takes the hash in its form at rest. Finds by an index that may lag a moment, and confirms by
        consistent reads; gives `None` when the confirmed session holds another token.
        """
        ...

    def history(
        self, user_id: str, limit: int = 100, before: Outcome | None = None
    ) -> list[Outcome]:
        """Read the user's outcomes, latest first; to go on, those before one of them."""
        ...

    def outcome(self, key: CommandKey) -> Outcome | None:
        """Read the outcome of a command, consistently."""
        ...

    def load(self, request: LoadRequest) -> Snapshot:
        """Read all that a round needs in as few calls as possible.

        Items that the store throttles are named in `Snapshot.unread`; the others are read.

        Raises:
            ThrottledError: the store throttles all of the items.
            StoreUnavailableError: nothing is known; try later.
        """
        ...

    def commit(self, changes: Sequence[UserChange], now: datetime) -> CommitReport:
        """Commit each change whole or not at all, in as few transactions as fit.

        One change's conflict does not keep the others from being committed. Never raises for
        what the store answers: it is in the report.
        """
        ...


@dataclass(frozen=True, slots=True)
class EventMessage:
    """An event ready for the topic."""

    event_id: str
    user_id: str
    """Group on a FIFO topic; the command id where there is no user."""
    body: str
    """The CloudEvent, in JSON."""
    type: str
    category: str
    command_source: str


class PublishFailure(NamedTuple):
    """Why an event was not published."""

    reason: str
    permanent: bool
    """Whether the topic refuses it for its content, so that trying again is useless."""
    answered: bool = False
    """Whether the topic answered for this event itself; if not, the whole call failed."""
    shared: bool = False
    """Whether the cause is not the event's: throttling, or the set-up of the topic."""


class EventPublisher(Protocol):
    """The topic."""

    def publish(self, messages: Sequence[EventMessage]) -> dict[str, PublishFailure]:
        """Publish events, retrying a little; give the failures by event id.

        Never raises for what the topic answers.
        """
        ...


class Clock(Protocol):
    """The time."""

    def now(self) -> datetime:
        """Give the present time, in UTC."""
        ...
