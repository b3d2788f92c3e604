"""A topic in memory."""

from __future__ import annotations

from collections.abc import Sequence
from threading import RLock

from application.ports import EventMessage, EventPublisher, PublishFailure


class MemoryEventPublisher(EventPublisher):
    """A topic that keeps what it is given, in order."""

    def __init__(self) -> None:
        """Start empty."""
        self._lock = RLock()
        self._published: list[EventMessage] = []

    @property
    def published(self) -> list[EventMessage]:
        """All that was published so far, doubles too."""
        with self._lock:
            return list(self._published)

    def publish(self, messages: Sequence[EventMessage]) -> dict[str, PublishFailure]:
        """See the port. Nothing fails."""
        with self._lock:
            self._published.extend(messages)
        return {}
