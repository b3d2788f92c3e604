"""A command queue that is watched: what it brings, and what is buried."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from application.queue_port import CommandQueue, DeadLetterMessage, Failures, RawMessage
from worker.telemetry import instruments
from worker.telemetry.port import Meter

if TYPE_CHECKING:
    from worker.telemetry.tracing import Tracing


class WatchedQueue(CommandQueue):
    """Does what a queue does, and counts."""

    def __init__(
        self, name: str, queue: CommandQueue, meter: Meter, tracing: Tracing | None
    ) -> None:
        """Stand before a queue of that name."""
        self._name = name
        self._queue = queue
        self._meter = meter
        self._tracing = tracing

    def check(self) -> None:
        """See the port."""
        self._queue.check()

    def receive(
        self, max_messages: int, wait_seconds: int, visibility_timeout: int
    ) -> Sequence[RawMessage]:
        """See the port. Where it is traced, the messages carry its context."""
        began = time.time_ns()
        messages = self._queue.receive(max_messages, wait_seconds, visibility_timeout)
        if not messages:
            return messages
        labels = ("aws_sqs", "receive", self._name)
        self._meter.measure(instruments.RECEIVED, len(messages), *labels)
        if self._tracing is None:
            return messages
        trace = self._tracing.received(self._name, len(messages), began)
        if trace is None:
            return messages
        traced: Any = messages
        return [replace(message, trace=trace) for message in traced]

    def delete(self, receipts: Sequence[str]) -> Failures:
        """See the port."""
        return self._queue.delete(receipts)

    def change_visibility(self, changes: Sequence[tuple[str, int]]) -> Failures:
        """See the port."""
        return self._queue.change_visibility(changes)

    def dead_letter(self, letters: Sequence[DeadLetterMessage]) -> Failures:
        """See the port."""
        failures = self._queue.dead_letter(letters)
        buried = Counter(each.code for each in letters if each.message.receipt not in failures)
        for code, count in buried.items():
            self._meter.measure(instruments.DEAD_LETTERS, count, code)
        return failures
