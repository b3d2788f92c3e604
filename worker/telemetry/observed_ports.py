"""Wrap ports so that they report to the observer of a worker."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Generic, TypeVar

from application.observer import NULL_OBSERVER, WorkerObserver
from application.outbox import (
    Outbox,
    OutboxPage,
    OutboxPosition,
    OutboxStatus,
    PointedOutcomes,
    ScrubPage,
)
from application.ports import EventMessage, EventPublisher, OutboxEntry, PublishFailure
from application.queue_port import CommandQueue, DeadLetterMessage, Failures, RawMessage

Record = TypeVar("Record")


def observe_outbox(outbox: Outbox[Record], observer: WorkerObserver) -> Outbox[Record]:
    """Return an outbox, observed; unchanged if telemetry is off."""
    return outbox if observer is NULL_OBSERVER else ObservedOutbox(outbox, observer)


def observe_publisher(publisher: EventPublisher, observer: WorkerObserver) -> EventPublisher:
    """Return a publisher, observed; unchanged if telemetry is off."""
    return publisher if observer is NULL_OBSERVER else ObservedPublisher(publisher, observer)


def observe_queue(name: str, queue: CommandQueue, observer: WorkerObserver) -> CommandQueue:
    """Return a command queue, observed; unchanged if telemetry is off."""
    return queue if observer is NULL_OBSERVER else ObservedQueue(name, queue, observer)


class ObservedPublisher(EventPublisher):
    """Publishes with another publisher and reports the results."""

    def __init__(self, publisher: EventPublisher, observer: WorkerObserver) -> None:
        self._publisher = publisher
        self._observer = observer

    def publish(self, messages: Sequence[EventMessage]) -> dict[str, PublishFailure]:
        """See the port."""
        with self._observer.publishing(len(messages)):
            failures = self._publisher.publish(messages)
        self._observer.published(messages, failures)
        return failures


class ObservedOutbox(Outbox[Record], Generic[Record]):
    """Delegates to another outbox and reports entries that are read, closed and parked."""

    def __init__(self, outbox: Outbox[Record], observer: WorkerObserver) -> None:
        self._outbox = outbox
        self._observer = observer

    def pending(
        self, before: datetime, limit: int = 10, after: OutboxPosition | None = None
    ) -> OutboxPage:
        """See the port."""
        page = self._outbox.pending(before, limit, after)
        self._observer.outbox_read(page, first=after is None)
        return page

    def outcomes(self, entries: Sequence[OutboxEntry]) -> PointedOutcomes[Record]:
        """See the port."""
        return self._outbox.outcomes(entries)

    def close(self, entries: Sequence[OutboxEntry]) -> None:
        """See the port."""
        self._outbox.close(entries)
        self._observer.outbox_closed(entries)

    def update(self, old: OutboxEntry, new: OutboxEntry) -> bool:
        """See the port."""
        return self._outbox.update(old, new)

    def repeat_scrub(self, entry: OutboxEntry, due: datetime) -> bool:
        """See the port."""
        return self._outbox.repeat_scrub(entry, due)

    def park(self, entry: OutboxEntry, reason: str) -> None:
        """See the port."""
        self._outbox.park(entry, reason)
        self._observer.outbox_parked()

    def unpark(self, entry: OutboxEntry) -> OutboxEntry | None:
        """See the port."""
        return self._outbox.unpark(entry)

    def pages(self) -> Iterator[OutboxPage]:
        """See the port."""
        return self._outbox.pages()

    def oldest(self, size: int, *, parked: bool = False) -> Iterator[OutboxPage]:
        """See the port."""
        return self._outbox.oldest(size, parked=parked)

    def may_scrub(self, user_id: str) -> bool:
        """See the port."""
        return self._outbox.may_scrub(user_id)

    def scrub(self, user_id: str, after: str | None = None) -> ScrubPage:
        """See the port."""
        return self._outbox.scrub(user_id, after)

    def release(self, user_id: str, address: str) -> None:
        """See the port."""
        self._outbox.release(user_id, address)

    def status(self, now: datetime | None = None, most: int | None = None) -> OutboxStatus:
        """See the port."""
        return self._outbox.status(now, most)


class ObservedQueue(CommandQueue):
    """Delegates to another queue and reports messages that are received and dead-lettered."""

    def __init__(self, name: str, queue: CommandQueue, observer: WorkerObserver) -> None:
        self._name = name
        self._queue = queue
        self._observer = observer

    def receive(
        self, max_messages: int, wait_seconds: int, visibility_timeout: int
    ) -> Sequence[RawMessage]:
        """See the port. If the receive is traced, the messages carry its context."""
        started = time.time_ns()
        messages = self._queue.receive(max_messages, wait_seconds, visibility_timeout)
        if not messages:
            return messages
        trace = self._observer.received(self._name, len(messages), started)
        if trace is None:
            return messages
        return [replace(message, trace=trace) for message in messages]

    def delete(self, receipts: Sequence[str]) -> Failures:
        """See the port."""
        return self._queue.delete(receipts)

    def change_visibility(self, changes: Sequence[tuple[str, int]]) -> Failures:
        """See the port."""
        return self._queue.change_visibility(changes)

    def quarantine(self, letters: Sequence[DeadLetterMessage]) -> Failures:
        """See the port."""
        return self._queue.quarantine(letters)

    def dead_letter(self, letters: Sequence[DeadLetterMessage]) -> Failures:
        """See the port."""
        failures = self._queue.dead_letter(letters)
        self._observer.dead_lettered(
            Counter(each.code for each in letters if each.message.receipt not in failures)
        )
        return failures
