"""The transport's options: Celery's `broker_transport_options`, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kombu.utils.imports import symbol_by_name

from worker.transport.batching import PartitionKey, no_partition
from worker.transport.port import CommandQueue, CommandQueueFactory

if TYPE_CHECKING:
    from worker.transport.consumer import QueueConsumer

WAIT_SECONDS = 5
"""Length of a long poll. A poll cannot be called off, and what arrives on an abandoned one stays
invisible for a visibility timeout; so shutdown waits for it, and it is short."""
IDLE_AFTER = 20
"""Seconds without a message after which a queue is idle."""
IDLE_WAIT_SECONDS = 20
"""Length of a long poll of an idle queue: SQS's longest. Shutdown does not wait for it."""
IDLE_VISIBILITY_TIMEOUT = 10
"""Seconds for which what such a poll brings is invisible, until the first renewal: so long is a
message late, at most, that comes just when a shutdown has abandoned the poll."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the transport can be told."""

    command_queue_factory: CommandQueueFactory | str
    """A callable, or the dotted name `module:function` of one."""
    visibility_timeout: int
    """Seconds; that of the queues."""
    wait_seconds: int = WAIT_SECONDS
    idle_after: float = IDLE_AFTER
    receivers: int = 3
    """Receive threads a queue: one, and others that poll only while polls bring ten messages."""
    batch_size: int = 10
    """Messages that one task may carry: of several receives, when the buffer holds them."""
    queues: tuple[str, ...] = ()
    """Names of the queues, the more urgent first."""
    partition: PartitionKey | str = no_partition
    """Names what a message at its third receive or later runs together with; see `batching`."""
    watch: Callable[[QueueConsumer], None] | str | None = None
    """Is told of what serves each queue; a callable, or its dotted name."""

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Options:
        """Read Celery's `broker_transport_options`; those of other transports are ignored.

        Raises:
            TypeError: one is missing.
        """
        known = {name: value for name, value in options.items() if name in cls.__slots__}
        return cls(**{**known, "queues": tuple(known.get("queues", ()))})

    @property
    def queue_order(self) -> dict[str, int]:
        """The place of each queue, the most urgent first."""
        return {name: place for place, name in enumerate(self.queues)}

    def watched(self, consumer: QueueConsumer) -> QueueConsumer:
        """Tell the watcher, if there is one, of what serves a queue; give it back."""
        if self.watch is not None:
            watch: Any = symbol_by_name(self.watch)
            watch(consumer)
        return consumer

    @property
    def partition_key(self) -> PartitionKey:
        """The function that `partition` names."""
        named: Any = symbol_by_name(self.partition)
        key: PartitionKey = named
        return key

    def queue(self, name: str) -> CommandQueue:
        """Make the `CommandQueue` of a name."""
        factory: Any = symbol_by_name(self.command_queue_factory)
        queue: CommandQueue = factory(name)
        return queue
