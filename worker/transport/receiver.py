"""The receive thread: long polls that survive any answer of the service."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from time import monotonic

import structlog

from application.backoff import HALF, Backoff
from application.health_source import ENDED, LivenessCheck
from application.queue_port import FIFO_SUFFIX, MAX_BATCH, CommandQueue
from worker.errors import one_line
from worker.transport.acknowledger import Acknowledger
from worker.transport.batching import into_batches, probe
from worker.transport.breaker import Breaker, Probe, Receive, Wait
from worker.transport.buffer import Buffer
from worker.transport.options import IDLE_VISIBILITY_TIMEOUT, IDLE_WAIT_SECONDS, Options

logger = structlog.get_logger(__name__)

BACKOFF = Backoff(0.4, 5.0, HALF)
"""Pauses between attempts while receiving fails."""

LONGEST_POLL = 120.0
"""Seconds; a poll ends by its timeouts in a third of this, whatever happens to the connection."""

SHORTEST_POLL = 0.1
"""Seconds; if empty answers arrived faster than this, the thread would spin. A call without a wait
takes less."""


LOOK_AGAIN = 0.2
"""Seconds between checks whether SQS accepts acknowledgements again."""

EXTRA_WAIT_SECONDS = 1
"""Seconds of an extra receiver's poll: a long poll, so that SQS asks all its servers, but short."""


class Receiver:
    """Receive from one queue into its buffer, in a thread, until the buffer is closed."""

    def __init__(
        self,
        name: str,
        queue: CommandQueue,
        on_received: Callable[[], None],
        *,
        buffer: Buffer,
        acknowledger: Acknowledger,
        breaker: Breaker,
        options: Options,
        extra: bool,
    ) -> None:
        """Receive as `options` say; an extra receiver polls only in a burst.

        That is while polls return as many messages as they can.
        """
        self._name = name
        self._queue = queue
        self._buffer = buffer
        self._acknowledger = acknowledger
        self._breaker = breaker
        self._on_received = on_received
        self._extra = extra
        self._wait_seconds = EXTRA_WAIT_SECONDS if extra else options.wait_seconds
        self._idle_after = float("inf") if extra else options.idle_after
        self._visibility_timeout = options.visibility_timeout
        self._fifo = name.endswith(FIFO_SUFFIX)
        self._partition_key = options.partition_key
        self._idle_since = monotonic()
        self._abandonable = False
        self._polling_since: float | None = None
        self._answered = False
        self._failing_since: float | None = None
        self._failures = 0
        self._paused_at: float | None = None
        """When the pause before the current poll began."""
        self._thread = Thread(target=self._run, name=f"receiver {name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def liveness_check(self) -> LivenessCheck:
        """Return the check of its current poll; waiting for room does not count. Any thread."""
        since, alive = self._polling_since, self._thread.is_alive() or self._buffer.closed
        age = 0.0 if since is None else monotonic() - since
        return LivenessCheck(
            f"{self._thread.name}, in one poll", age if alive else ENDED, LONGEST_POLL
        )

    def readiness_issue(self) -> str | None:
        """Return why it receives nothing; `None` if SQS answered its last poll. Any thread."""
        if self._failing_since is not None:
            return "SQS does not answer"
        return None if self._answered else "not polled yet"

    def join(self, seconds: float) -> bool:
        """Wait for the current poll to end, once the buffer is closed; return True if it did.

        The long poll of an idle queue is not awaited.
        """
        self._thread.join(0 if self._abandonable else seconds)
        return self._abandonable or not self._thread.is_alive()

    def _run(self) -> None:
        while self._buffer.wait_for_room(in_burst=self._extra):
            if self._acknowledger.refused:  # what is received now could not be acknowledged either
                self._buffer.wait_closed(LOOK_AGAIN)
                continue
            match self._breaker.ask():
                case Wait(seconds):
                    self._buffer.wait_closed(seconds)
                case Probe():
                    self._buffer.put(probe(self._name))
                    self._on_received()
                case Receive(messages):
                    self._receive(messages)
                    self._pause()

    def _pause(self) -> None:
        """Pause, so that more messages arrive for a batch that waits."""
        seconds = self._buffer.pause()
        self._paused_at = monotonic() if seconds > 0 else None
        self._buffer.wait_closed(seconds)

    def _receive(self, most: int) -> None:
        self._polling_since = monotonic()
        try:
            received = self._poll(most)
        except Exception as error:  # noqa: BLE001 - the thread must survive any error
            received = False
            self._failed(error)
            self._buffer.wait_closed(BACKOFF.delay(self._failures))
        else:
            self._succeeded()
        self._polling_since = None
        if not received and most < MAX_BATCH:
            self._breaker.trial_received_nothing()

    def _poll(self, most: int) -> bool:
        """Poll once; return True if messages were received."""
        began = monotonic()
        wait, visibility = self._wait_seconds, self._visibility_timeout
        self._abandonable = began - self._idle_since >= self._idle_after
        if self._abandonable:
            wait, visibility = IDLE_WAIT_SECONDS, min(visibility, IDLE_VISIBILITY_TIMEOUT)
        messages = self._queue.receive(most, wait, visibility)
        self._abandonable = False
        self._buffer.burst(len(messages) == most)
        if not messages:
            if monotonic() - began < SHORTEST_POLL:
                self._buffer.wait_closed(SHORTEST_POLL)
            return False
        self._idle_since = monotonic()
        # a poll that takes longer has begun with an empty queue
        waits_since = self._paused_at if self._idle_since - began < SHORTEST_POLL else None
        self._acknowledger.hold(messages, visibility)
        for batch in into_batches(
            self._name, messages, fifo=self._fifo, partition_key=self._partition_key
        ):
            if not self._buffer.put(batch, waits_since):  # shutdown began during the poll
                self._acknowledger.release(batch.receipts)
        self._on_received()
        return True

    def _failed(self, error: Exception) -> None:
        """Log one line per episode, not one per attempt."""
        self._failures += 1
        if self._failing_since is None:
            self._failing_since = monotonic()
            logger.error("receiving_failed", queue=self._name, reason=one_line(error))

    def _succeeded(self) -> None:
        if self._failing_since is not None:
            seconds = round(monotonic() - self._failing_since, 1)
            logger.warning("receiving_again", queue=self._name, seconds=seconds)
        self._failing_since = None
        self._failures = 0
        self._answered = True
