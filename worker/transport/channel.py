"""The channel that Celery's consumer reads from: it delivers batches and receives results.

Everything here runs on the worker's main thread, except `apply`, which a thread of the pool may
call, and `_shutting_down`, which runs in a signal handler on the main thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import structlog
from celery.signals import worker_shutting_down
from kombu.message import Message
from kombu.transport.base import StdChannel

from application.disposition import Dispositions, Retry
from application.health_source import (
    LONGEST_BATCH,
    RUNNING_BATCH,
    STALLED_AFTER,
    HealthSource,
    LivenessCheck,
)
from worker.transport.batching import Batch, as_task_argument, return_delay
from worker.transport.consumer import QueueConsumer
from worker.transport.in_flight import MAX_HELD_SECONDS, MAX_RENEWED_TIMEOUTS
from worker.transport.options import Options
from worker.transport.turns import Turns

if TYPE_CHECKING:
    from worker.transport.kombu_transport import Transport

logger = structlog.get_logger(__name__)

TASK = "worker.tasks.handle_batch"
DEFAULT_PREFETCH = 4
"""Batches delivered to Celery at a time if it sets no limit itself."""
CLOSE_SECONDS = 3.0
"""Seconds for the last acknowledgements, in addition to the poll in progress."""


class BatchMessage(Message):
    """The kombu message of one batch: its payload is already decoded, its body empty.

    The empty body keeps commands out of what Celery logs about an invalid message.
    """

    def __init__(self, batch: Batch, channel: Channel, *, fifo: bool) -> None:
        super().__init__(
            body=b"",
            channel=channel,
            delivery_tag=batch.number,
            content_type="application/x-python",
            content_encoding="binary",
            delivery_info={"exchange": "", "routing_key": batch.queue},
            headers=_headers(batch),
        )
        self._batch = batch
        self._channel = channel
        self._payload = {"args": [as_task_argument(batch, fifo=fifo)], "kwargs": {}}

    @property
    def payload(self) -> dict[str, Any]:
        """The decoded task message, as Celery expects it."""
        return self._payload

    def give_result(self, text: str) -> None:
        """Pass on the task's result, before the acknowledgement; any thread."""
        self._channel.apply(self._batch, text)


def _headers(batch: Batch) -> dict[str, Any]:
    return {
        "task": TASK,
        "id": str(uuid4()),
        "lang": "py",
        "argsrepr": repr(batch),
        "kwargsrepr": "{}",
        "ignore_result": True,
    }


class Channel(StdChannel, HealthSource):
    """Deliver one batch per task to Celery, and never more than its prefetch count.

    It owns no receipt (the acknowledgers do) and sends nothing again: a message without a
    disposition becomes visible again by its timeout or through an acknowledger.
    """

    def __init__(self, transport: Transport, options: Options) -> None:
        self.connection = transport
        self.channel_id = 1
        self.closed = False
        self._options = options
        self._queue_consumers: dict[str, QueueConsumer] = {}
        self._consumers: dict[str, str] = {}
        self._callback: Callable[[BatchMessage], None] | None = None
        self._prefetch = DEFAULT_PREFETCH
        self._delivered: dict[int, Batch] = {}
        self._handed_over: dict[int, float] = {}
        self._with_result: set[int] = set()
        self._turns = Turns(options.priority_queue)
        self._shut = False

    # --- consuming -------------------------------------------------------------------------

    def basic_qos(self, _size: int = 0, prefetch_count: int = 0, *_: Any, **__: Any) -> None:
        """Set how many batches may be with Celery at a time; 0 sets the default."""
        self._prefetch = prefetch_count or DEFAULT_PREFETCH
        self.deliver()

    def basic_consume(
        self,
        queue: str,
        no_ack: bool,  # noqa: ARG002, FBT001  # kombu's signature
        callback: Callable[[BatchMessage], None],
        consumer_tag: str,
        **_: Any,
    ) -> None:
        """Start receiving from a queue."""
        if not self._queue_consumers:
            worker_shutting_down.connect(self._shutting_down)
        self._callback = callback
        self._consumers[consumer_tag] = queue
        consumer = QueueConsumer(
            queue, self._options, self.connection.waker.wake, self._share_of_buffer
        )
        if queue not in self._queue_consumers:
            self._turns.add(queue)
        self._queue_consumers[queue] = consumer
        if self._options.watch is not None:
            self._options.watch(consumer)
        consumer.start()

    def basic_cancel(self, consumer_tag: str, **_: Any) -> None:
        """Stop receiving from a queue and release the batches that have not started."""
        consumer = self._queue_consumers.get(self._consumers.pop(consumer_tag, ""))
        if consumer is not None:
            consumer.shut()

    def deliver(self) -> None:
        """Deliver waiting batches while Celery has room for them."""
        while self._may_deliver() and self._callback is not None:
            taken = self._take()
            if taken is None:
                self._deliver_when_due()
                return
            consumer, batch = taken
            if not self._may_deliver():  # a shutdown signal arrived in the meantime
                consumer.acknowledger.release(batch.receipts)
                return
            self._handed_over[batch.number] = monotonic()
            self._delivered[batch.number] = batch
            self._callback(BatchMessage(batch, self, fifo=consumer.fifo))

    def _deliver_when_due(self) -> None:
        """Deliver again when the first of the waiting batches may start."""
        waits = [consumer.buffer.starts_in() for consumer in self._queue_consumers.values()]
        if due := [seconds for seconds in waits if seconds is not None]:
            self.connection.deliver_in(min(due))

    def _may_deliver(self) -> bool:
        return not self._shut and len(self._delivered) < self._prefetch

    def _take(self) -> tuple[QueueConsumer, Batch] | None:
        """Take the next batch, from the first queue in turn that has one."""
        free = self._prefetch - len(self._delivered)
        for name in self._turns.order():
            consumer = self._queue_consumers[name]
            batch = consumer.take(free)
            if batch is not None:
                self._turns.served(name)
                return consumer, batch
        return None

    def _share_of_buffer(self) -> int:
        """Return how many batches each queue may buffer; any thread.

        The queues that have waiting batches share the prefetch count. Otherwise, with many full
        queues, a batch would wait in its buffer for many times longer, invisible to other workers.
        """
        consumers = list(self._queue_consumers.values())
        waiting = sum(len(consumer.buffer) > 0 for consumer in consumers)
        return -(-self._prefetch // max(1, waiting))

    # --- acknowledging ---------------------------------------------------------------------

    def apply(self, batch: Batch, text: str) -> None:
        """Carry out a task's result; any thread. An invalid result is ignored."""
        try:
            result = Dispositions.parse(text)
        except ValueError:
            result = None
        if result is None or len(result.items) != len(batch.messages):
            logger.error("result_unreadable", queue=batch.queue, messages=len(batch.messages))
            return
        self._with_result.add(batch.number)
        consumer = self._queue_consumers.get(batch.queue)
        if consumer is not None:  # after a cold shutdown a pool thread may still return a result
            consumer.breaker.report(
                store=result.store, topic=result.topic, probe=not batch.messages
            )
            consumer.apply(batch, result.items)

    def basic_ack(self, delivery_tag: int, **_: Any) -> None:
        """Take a batch back from Celery; without a result its messages are retried."""
        self._handed_over.pop(delivery_tag, None)
        batch = self._delivered.pop(delivery_tag, None)
        if batch is None:
            return
        if delivery_tag in self._with_result:
            self._with_result.discard(delivery_tag)
        else:
            delay = return_delay(batch)
            logger.warning(
                "batch_unsettled", queue=batch.queue, messages=len(batch.messages), delay=delay
            )
            consumer = self._queue_consumers.get(batch.queue)
            if consumer is not None:
                consumer.apply(batch, [Retry(delay)] * len(batch.messages))
        self.deliver()

    def basic_reject(self, delivery_tag: int, **_: Any) -> None:
        """Same as an acknowledgement; nothing is sent again."""
        self.basic_ack(delivery_tag)

    # --- health, reported to any thread ----------------------------------------------------

    def liveness_checks(self) -> Iterator[LivenessCheck]:
        """Yield the checks of every queue's threads, and the age of the oldest running batch."""
        for consumer in list(self._queue_consumers.values()):
            yield from consumer.liveness_checks()
        seconds = self._longest_running()
        if seconds is not None:
            renewed = MAX_RENEWED_TIMEOUTS * self._options.visibility_timeout
            limit = max(LONGEST_BATCH, min(renewed, MAX_HELD_SECONDS))
            yield LivenessCheck(RUNNING_BATCH, seconds, limit)

    def readiness_issues(self) -> Iterator[str]:
        """Yield which queues are not processed and why, and a batch that runs unusually long."""
        yield from filter(
            None, [consumer.readiness_issue() for consumer in list(self._queue_consumers.values())]
        )
        seconds = self._longest_running()
        if seconds is not None and seconds > STALLED_AFTER:
            yield f"{RUNNING_BATCH} for {seconds:.0f} s"

    def _longest_running(self) -> float | None:
        """Return the seconds since the oldest running batch was delivered, `None` without one."""
        started = list(self._handed_over.values())
        return monotonic() - min(started) if started else None

    # --- the end ---------------------------------------------------------------------------

    def _shutting_down(self, **_: Any) -> None:
        """Start nothing more, and release what has not started. In a signal handler."""
        self._shut = True
        for consumer in self._queue_consumers.values():
            consumer.shut()
        self.connection.waker.wake()  # the event loop may sleep for seconds

    def close(self) -> None:
        """Stop receiving, release unfinished messages, and wait for the last calls."""
        if self.closed:
            return
        self.closed = self._shut = True
        worker_shutting_down.disconnect(self._shutting_down)
        for consumer in self._queue_consumers.values():
            consumer.shut()
        deadline = monotonic() + self._options.wait_seconds + CLOSE_SECONDS
        for consumer in self._queue_consumers.values():
            if not consumer.finish(max(0.0, deadline - monotonic())):
                logger.warning("closed_unsettled", queue=consumer.name)
        self._queue_consumers.clear()
        self.connection.close_channel(self)

    # --- what Celery calls to publish its monitoring events --------------------------------

    def exchange_declare(self, *_: Any, **__: Any) -> None:
        """Do nothing: there are no exchanges."""

    def prepare_message(self, body: Any, *_: Any, **__: Any) -> Any:
        """Return the body unchanged, for `basic_publish`."""
        return body

    def basic_publish(self, _message: Any, exchange: str = "", **_: Any) -> None:
        """Drop the worker's monitoring events, which have no exchange here; reject anything else.

        Raises:
            NotImplementedError: commands are sent with the SDK or kombu's own SQS transport.
        """
        if not exchange.startswith("celeryev"):
            raise NotImplementedError(
                "this transport can only receive: send with boto3 or with kombu's SQS transport"
            )
