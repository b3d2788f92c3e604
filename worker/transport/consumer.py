"""One queue with its receivers, breaker, buffer and acknowledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import monotonic

from application.disposition import Disposition
from application.health_source import LivenessCheck
from application.queue_port import FIFO_SUFFIX, MAX_BATCH
from worker.transport.acknowledger import Acknowledger
from worker.transport.batching import Batch
from worker.transport.breaker import Breaker
from worker.transport.buffer import Buffer
from worker.transport.in_flight import InFlight
from worker.transport.options import Options
from worker.transport.receiver import Receiver


class QueueConsumer:
    """Consume one queue. Created, started and finished on the main thread."""

    def __init__(
        self,
        name: str,
        options: Options,
        on_received: Callable[[], None],
        buffered: Callable[[], int],
    ) -> None:
        self.name = name
        self._batch_size = options.batch_size
        self.fifo = name.endswith(FIFO_SUFFIX)
        receives = -(-options.batch_size // MAX_BATCH)
        # what has priority must not wait, and its queue is seldom full
        self._batch_wait = 0.0 if name == options.priority_queue else options.batch_wait
        self.buffer = Buffer(
            lambda: buffered() * receives, wait=self._wait, full=options.batch_size
        )
        self.breaker = Breaker(name)
        queue = options.command_queue_factory(name)
        self.acknowledger = Acknowledger(
            name, queue, InFlight(options.visibility_timeout, self.fifo, queue=name)
        )
        self._receivers = [
            Receiver(
                name,
                queue,
                on_received,
                buffer=self.buffer,
                acknowledger=self.acknowledger,
                breaker=self.breaker,
                options=options,
                extra=number > 0,
            )
            for number in range(options.receivers)
        ]

    def start(self) -> None:
        """Start all threads."""
        self.acknowledger.start()
        for receiver in self._receivers:
            receiver.start()

    def _wait(self) -> float:
        """Return the seconds for which a batch may wait; none while little or nothing arrives."""
        arriving = self.breaker.receives_all and not self.acknowledger.refused
        return self._batch_wait if arriving else 0.0

    def take(self, free: int) -> Batch | None:
        """Return the next batch to run, or `None`; a batch that is no longer all ours is released.

        A batch that may still wait for more messages is not returned.

        Receives are joined only if more of them wait than `free`, the tasks that may start.
        """
        join_up_to = self._batch_size if len(self.buffer) > free else 0
        while (batch := self.buffer.take(join_up_to)) is not None:
            if self.acknowledger.still_held(batch.receipts):
                return batch
            self.acknowledger.release(batch.receipts)
        return None

    def apply(self, batch: Batch, dispositions: Sequence[Disposition]) -> None:
        """Carry out the dispositions of a batch's messages, in their order. Any thread."""
        self.acknowledger.apply(zip(batch.receipts, dispositions, strict=True))

    def liveness_checks(self) -> Iterator[LivenessCheck]:
        """Yield the checks of all threads. Any thread."""
        yield self.acknowledger.liveness_check()
        yield from (receiver.liveness_check() for receiver in self._receivers)

    def readiness_issue(self) -> str | None:
        """Return why this queue is not processed now, `None` if it is. Any thread."""
        readiness_issue = (
            self.acknowledger.readiness_issue
            or self.breaker.readiness_issue
            or self._receivers[0].readiness_issue()
        )
        return readiness_issue and f"queue {self.name}: {readiness_issue}"

    def shut(self) -> None:
        """Stop receiving and release what has not started. Safe in a signal handler."""
        self.acknowledger.post(self._empty_buffer)

    def finish(self, seconds: float) -> bool:
        """Wait for the last poll and the last calls; return True if all ended in time."""
        self.shut()
        deadline = monotonic() + seconds
        ended = [receiver.join(max(0.0, deadline - monotonic())) for receiver in self._receivers]
        return self.acknowledger.finish(max(1.0, deadline - monotonic())) and all(ended)

    def _empty_buffer(self) -> None:  # on the acknowledger's thread
        for batch in self.buffer.close():
            self.acknowledger.release(batch.receipts)
