"""The observer of a worker: batches, the relay, the publisher and the queues report to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol

from application.disposition import ReceivedMessage
from application.outbox import OutboxPage
from application.ports import EventMessage, OutboxEntry, PublishFailure


class QueueState(NamedTuple):
    """The state of what serves one queue."""

    breaker: int
    """0 closed, 1 slowed, 2 half-open, 3 open."""
    buffered: int
    """Batches that wait for a free child or thread."""
    in_flight: int
    """Messages that are received and not acknowledged."""


class ObservedCommand(Protocol):
    """The parts of a command that an observer may read."""

    @property
    def command_id(self) -> str:
        """Its id."""
        ...

    @property
    def type(self) -> str:
        """Its type, with domain and version."""
        ...

    @property
    def traceparent(self) -> str | None:
        """The trace context that it carries; its parser omits an invalid one."""
        ...


class WorkerObserver:
    """No-op observer of a worker; telemetry implements it.

    Every method is called in the thread that does the work, and none may raise. Messages
    hold personal data: an observer uses their types, ids and counts only.
    """

    def batch(self, messages: Sequence[ReceivedMessage]) -> AbstractContextManager[object]:  # noqa: ARG002 - see the class
        """Observe the handling of a batch, for as long as the block runs."""
        return nullcontext()

    def command_parsed(
        self,
        message: ReceivedMessage,  # noqa: ARG002
        command: ObservedCommand,
    ) -> str | None:
        """Observe a command of the batch; return the `traceparent` that its events carry."""
        return command.traceparent

    def command_finished(
        self,
        message: ReceivedMessage,
        command: ObservedCommand,
        outcome: str,
        code: str | None,
        *,
        seconds: float,
    ) -> None:
        """Observe a command that ended, and the seconds since the start of its batch."""

    def message_not_understood(self, outcome: str, code: str) -> None:
        """Observe a message that could not be parsed; `outcome` is `dead` or `later`."""

    def committing(self, changes: int) -> AbstractContextManager[object]:  # noqa: ARG002
        """Observe the commit of so many changes, for as long as the block runs."""
        return nullcontext()

    def committed(self, conflicts: int, failures: int) -> None:
        """Observe how many changes were not committed, in the block of `committing`."""

    def publishing(self, events: int) -> AbstractContextManager[object]:  # noqa: ARG002
        """Observe the publication of so many events, for as long as the block runs."""
        return nullcontext()

    def published(
        self, messages: Sequence[EventMessage], failures: Mapping[str, PublishFailure]
    ) -> None:
        """Observe the result of a publication: the failures by event id."""

    def outbox_read(self, page: OutboxPage, *, first: bool) -> None:
        """Observe a page of a shard that the relay read; `first` begins another look."""

    def outbox_relayed(self, entries: Sequence[OutboxEntry]) -> None:
        """Observe entries whose events the relay has published."""

    def outbox_parked(self) -> None:
        """Observe that an entry was set apart for a person."""

    def received(self, queue: str, messages: int, started: int) -> str | None:  # noqa: ARG002
        """Observe a receive that began at `started`, in ns since the epoch.

        Return the `traceparent` of the receive if it is traced.
        """
        return None

    def dead_lettered(self, codes: Mapping[str, int]) -> None:
        """Observe messages that are in the dead-letter queue: how many by error code."""

    def queue_served(self, queue: str, read: Callable[[], QueueState]) -> None:
        """Observe the state of a queue, by `read`, for as long as the process runs."""


NULL_OBSERVER = WorkerObserver()
