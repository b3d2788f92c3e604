"""Ports that do not know the User, and their records: event publisher, clock, outbox entries.

The store of users is in `repository`, the outbox in `outbox`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol


class StoreUnavailableError(Exception):
    """The store or the topic is unavailable (throttled, down, timed out): retry later."""


class ThrottledError(StoreUnavailableError):
    """The store is available but throttles the requested items: retry these later."""


class CommandKey(NamedTuple):
    """Key of a command's outcome: its user and its id.

    `user_id` is `None` for the record that a command by e-mail address stores under its command id
    alone.
    """

    user_id: str | None
    command_id: str


class JobKind(StrEnum):
    """The kind of work that an outbox entry asks for."""

    PUBLISH = "publish"
    SCRUB = "scrub"


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """An entry of the outbox: events that may not be published yet, or a scrub job."""

    partition: str
    sort_key: str
    kind: JobKind
    commands: tuple[CommandKey, ...]
    """The commands of one transaction; for a scrub job, one key with the erased user."""
    recorded_at: datetime
    """Time of the commit; for a final scrub, the time from which it is due."""
    parked_because: str | None = None
    attempts: int = 0
    """Failed attempts since the last progress."""
    touched_at: datetime | None = None
    """When a relay last stored an attempt or a position in the entry."""
    position: str | None = None
    """Sort key of the last item of the user that this scrub has processed."""
    unreadable: int = 0
    """Outcomes before `position` that this scrub could not read."""
    final: bool = False
    """Whether this is the second scrub, which completes the job."""
    address: str | None = field(default=None, repr=False)
    """Key of an address that the final scrub releases."""


@dataclass(frozen=True, slots=True)
class EventMessage:
    """An event that is ready to be published."""

    event_id: str
    user_id: str
    """Message group on a FIFO topic; the command id if there is no user."""
    body: str
    """The CloudEvent in JSON, for the ordinary topic: its personal fields are null."""
    type: str
    category: str
    command_source: str
    complete_body: str | None = None
    """The CloudEvent with its personal fields, for the personal topic; `None` if the event has no
    such fields: it is published on the ordinary topic only."""


class TopicKind(StrEnum):
    """One of the two topics."""

    ORDINARY = "ordinary"
    """Carries all events, without personal fields."""
    PERSONAL = "personal"
    """Carries the events that have personal fields, complete."""


class PublishFailure(NamedTuple):
    """Why an event was not published."""

    reason: str
    permanent: bool
    """Whether the topic rejects the event for its content, so that a retry cannot succeed."""
    answered: bool = False
    """Whether the topic answered for this event; if not, the whole call failed."""
    shared: bool = False
    """Whether the cause does not concern this event: throttling, or the configuration of the
    topic."""
    topic: TopicKind = TopicKind.ORDINARY
    """The topic that did not accept the event."""


class EventPublisher(Protocol):
    """A topic of events, or both: an event is then published when each topic has accepted it."""

    def publish(self, messages: Sequence[EventMessage]) -> dict[str, PublishFailure]:
        """Publish events, with a few retries; return the failures by event id.

        Never raises for an answer of the topic.
        """
        ...


class Clock(Protocol):
    """The source of the present time."""

    def now(self) -> datetime:
        """Return the present time, in UTC."""
        ...
