"""The transport's options: Celery's `broker_transport_options`, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from application.queue_port import CommandQueueFactory
from worker.transport.batching import PartitionKey, no_partition

if TYPE_CHECKING:
    from worker.transport.consumer import QueueConsumer

WAIT_SECONDS = 5
"""Seconds of a long poll. A poll cannot be cancelled, and a message that arrives during an
abandoned poll stays invisible for a visibility timeout; so shutdown waits for the poll, and it is
short."""
IDLE_AFTER = 20
"""Seconds without a message after which a queue is idle."""
IDLE_WAIT_SECONDS = 20
"""Seconds of a long poll of an idle queue: the longest that SQS allows. Shutdown does not wait for
it."""
IDLE_VISIBILITY_TIMEOUT = 10
"""Seconds for which messages of such a poll are invisible, until the first renewal. This is the
maximum delay of a message that arrives when a shutdown has just abandoned the poll."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the transport."""

    command_queue_factory: CommandQueueFactory
    visibility_timeout: int
    """Seconds; the visibility timeout of the queues."""
    wait_seconds: int = WAIT_SECONDS
    idle_after: float = IDLE_AFTER
    receivers: int = 3
    """Receive threads per queue: one, and others that poll only while polls return ten messages."""
    batch_size: int = 10
    """Maximum messages per task: of several receives, if the buffer holds them."""
    batch_wait: float = 0.0
    """Seconds for which an incomplete batch may wait for more messages; see `Buffer`. Batches of
    the priority queue never wait."""
    priority_queue: str | None = None
    """Name of the queue that is served first."""
    partition_key: PartitionKey = no_partition
    """Returns the key of messages that run together from the third receive on; see `batching`."""
    watch: Callable[[QueueConsumer], None] | None = None
    """Called with the consumer of each queue."""

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Options:
        """Read Celery's `broker_transport_options`; options of other transports are ignored.

        Raises:
            TypeError: a required option is missing.
        """
        known = {name: value for name, value in options.items() if name in cls.__slots__}
        return cls(**known)
