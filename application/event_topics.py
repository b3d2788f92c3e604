"""Publish events on two topics, of which only one carries personal data.

See docs/adr/0042-events-with-addresses-have-a-topic-of-their-own.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from time import monotonic
from typing import Final

import structlog

from application.ports import EventMessage, EventPublisher, PublishFailure, TopicKind

logger = structlog.get_logger(__name__)

SLOW: Final = 5.0
"""Seconds from which a publication that published nothing counts as not answered: the timeout of
one call."""
PAUSE: Final = 15.0
"""Seconds for which the personal topic is not called after that. Otherwise every batch with such an
event would wait for the timeouts of both topics, and a pass of the relay for many of them."""
MAX_THREADS: Final = 32
"""Maximum number of concurrent calls of the personal topic: one per thread that publishes."""
REMEMBERED: Final = 10_000
"""Maximum number of events remembered; forgetting one only publishes it again."""

_PAUSED: Final = PublishFailure(
    "does not answer",
    permanent=False,
    answered=True,  # no other event of the call is the cause
    shared=True,
)


class EventTopics(EventPublisher):
    """Publish every event on the ordinary topic, and those with personal fields on both.

    An event is published when each topic has accepted it. The outbox keeps it until then, and
    another attempt repeats what failed. What one topic has accepted is remembered in memory only:
    after a crash, both publications are repeated.
    """

    def __init__(
        self,
        ordinary: EventPublisher,
        personal: EventPublisher,
        *,
        clock: Callable[[], float] = monotonic,
        parallel: bool = True,
    ) -> None:
        """Set the publishers of both topics, and a clock that returns seconds.

        With `parallel`, both topics are called at the same time; without, all calls are made by the
        calling thread, the ordinary topic first.
        """
        self._publishers = {TopicKind.ORDINARY: ordinary, TopicKind.PERSONAL: personal}
        self._clock = clock
        self._pool = ThreadPoolExecutor(MAX_THREADS, "personal topic") if parallel else None
        self._paused_until = clock()
        """Time until which the personal topic is not called."""
        self._accepted: dict[tuple[TopicKind, str], None] = {}
        """Events that this topic has accepted and the other has not."""

    def publish(self, messages: Sequence[EventMessage]) -> dict[str, PublishFailure]:
        """See the port. A failure of the personal topic concerns events with personal fields only.

        An exception of a publisher is returned as a failure of its messages.
        """
        personal = [
            replace(message, body=message.complete_body, complete_body=None)
            for message in messages
            if message.complete_body is not None
        ]
        if not personal:
            return self._attempt(TopicKind.ORDINARY, messages)
        ordinary_failures, personal_failures = self._attempt_both(messages, personal)
        if ordinary_failures or personal_failures or self._accepted:
            self._remember(personal, ordinary_failures, personal_failures)
        return ordinary_failures | {
            event_id: _more_lasting(failure, ordinary_failures.get(event_id))
            for event_id, failure in personal_failures.items()
        }

    def _attempt_both(
        self, messages: Sequence[EventMessage], personal: Sequence[EventMessage]
    ) -> tuple[dict[str, PublishFailure], dict[str, PublishFailure]]:
        """Attempt to publish on each topic; return the failures of each."""
        other = self._start(personal)
        ordinary_failures = self._attempt(TopicKind.ORDINARY, messages)
        if other is None:
            return ordinary_failures, self._attempt(TopicKind.PERSONAL, personal)
        return ordinary_failures, other.result()

    def _start(self, personal: Sequence[EventMessage]) -> Future[dict[str, PublishFailure]] | None:
        """Start to publish on the personal topic; return None if no thread can be started."""
        if self._pool is None:
            return None
        attempt = copy_context().run  # the context carries the current span of a trace
        try:
            return self._pool.submit(attempt, self._attempt, TopicKind.PERSONAL, personal)
        except RuntimeError:  # the process ends, or may not have more threads
            return None

    def _attempt(
        self, topic: TopicKind, messages: Sequence[EventMessage]
    ) -> dict[str, PublishFailure]:
        """Publish what this topic has not accepted yet; return the failures, also of exceptions."""
        if self._accepted:
            messages = [each for each in messages if (topic, each.event_id) not in self._accepted]
        if not messages:
            return {}
        began = self._clock()
        if topic is TopicKind.PERSONAL and began < self._paused_until:
            failures = dict.fromkeys((each.event_id for each in messages), _PAUSED)
        else:
            failures = self._call(topic, messages)
        if topic is TopicKind.ORDINARY or not failures:
            return failures
        now = self._clock()
        if now - began >= SLOW and failures.keys() >= {each.event_id for each in messages}:
            self._paused_until = now + PAUSE
        return {
            event_id: failure._replace(reason=f"personal topic: {failure.reason}", topic=topic)
            for event_id, failure in failures.items()
        }

    def _call(
        self, topic: TopicKind, messages: Sequence[EventMessage]
    ) -> dict[str, PublishFailure]:
        try:
            return self._publishers[topic].publish(messages)
        except Exception as error:  # the other topic and the other events are not affected
            logger.exception("publish_failed", topic=topic.value, events=len(messages))
            failure = PublishFailure(type(error).__name__, permanent=False)
            return dict.fromkeys((each.event_id for each in messages), failure)

    def _remember(
        self,
        personal: Sequence[EventMessage],
        ordinary_failures: Mapping[str, PublishFailure],
        personal_failures: Mapping[str, PublishFailure],
    ) -> None:
        """Remember events that one topic has accepted, and forget those that both have."""
        if len(self._accepted) > REMEMBERED:
            self._accepted.clear()
        for event_id in (each.event_id for each in personal):
            for topic, failures, others in (
                (TopicKind.ORDINARY, ordinary_failures, personal_failures),
                (TopicKind.PERSONAL, personal_failures, ordinary_failures),
            ):
                if event_id in others and event_id not in failures:
                    self._accepted[topic, event_id] = None
                else:
                    self._accepted.pop((topic, event_id), None)


def _more_lasting(personal: PublishFailure, ordinary: PublishFailure | None) -> PublishFailure:
    """Return the failure of an event that decides whether to repeat it: one that may pass."""
    return personal if ordinary is None or ordinary.permanent else ordinary
