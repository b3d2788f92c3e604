"""Report what is published to the observer of a worker."""

from __future__ import annotations

from collections.abc import Sequence

from application.observer import NULL_OBSERVER, WorkerObserver
from application.ports import EventMessage, EventPublisher, PublishFailure


def observe_publisher(publisher: EventPublisher, observer: WorkerObserver) -> EventPublisher:
    """Return a publisher, observed; unchanged if telemetry is off."""
    return publisher if observer is NULL_OBSERVER else ObservedPublisher(publisher, observer)


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
