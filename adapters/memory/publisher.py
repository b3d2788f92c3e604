"""The event publisher in memory."""

from __future__ import annotations

from collections.abc import Sequence
from threading import RLock

from application.ports import EventMessage, EventPublisher, PublishFailure


class MemoryEventPublisher(EventPublisher):
    """A topic that keeps the published events, in order."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._published: list[EventMessage] = []

    @property
    def published(self) -> list[EventMessage]:
        """All events published so far, including duplicates."""
        with self._lock:
            return list(self._published)

    def publish(self, messages: Sequence[EventMessage]) -> dict[str, PublishFailure]:
        """See the port. No event fails."""
        with self._lock:
            self._published.extend(messages)
        return {}
