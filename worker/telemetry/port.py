"""What telemetry is asked to watch; asked of nobody, it watches nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from application.observer import NULL_OBSERVER, BatchObserver
from application.pending_command import Parser

if TYPE_CHECKING:
    from application.batch import Ports
    from application.disposition import Dispositions, ReceivedMessage
    from application.queue_port import CommandQueue
    from worker.telemetry.calls import Calls
    from worker.telemetry.instruments import Instrument
    from worker.transport.consumer import QueueConsumer


class Batches(Protocol):
    """What handles batches: `application.batch.BatchHandler`."""

    def handle(self, messages: Sequence[ReceivedMessage]) -> Dispositions:
        """Give one settlement a message, in their order."""
        ...


class Telemetry:
    """Watches nothing: what is given comes back as it is. The base of what does watch."""

    @property
    def observer(self) -> BatchObserver:
        """Who is told what becomes of messages."""
        return NULL_OBSERVER

    @property
    def calls(self) -> Calls | None:
        """Who is told of calls to AWS, if anybody."""
        return None

    def batches(self, handler: Batches) -> Batches:
        """Give what handles batches, watched."""
        return handler

    def parser(self, parser: Parser) -> Parser:
        """Give what reads commands, watched: it may continue the producer's trace."""
        return parser

    def ports(self, ports: Ports) -> Ports:
        """Give what batches and the relay work with, watched."""
        return ports

    def queue(self, name: str, queue: CommandQueue) -> CommandQueue:  # noqa: ARG002 - to be used
        """Give a command queue, watched."""
        return queue

    def consumer(self, consumer: QueueConsumer) -> None:
        """Watch what serves a queue, for as long as the process lives."""

    def stop(self) -> None:
        """Send what is left of this process, in bounded time, and nothing after it."""


Reading: TypeAlias = tuple[float, tuple[str, ...]]
"""A gauge's value, with those of its labels."""


class Meter(Protocol):
    """Takes measurements. Any thread may call any method; none waits for the network."""

    def measure(self, instrument: Instrument, value: float, *labels: str) -> None:
        """Add to a counter or record in a histogram; the labels' values in their order."""
        ...

    def write(self) -> None:
        """Let the parent see what was measured so far; it outlives the process then."""
        ...

    def observe(self, instrument: Instrument, read: Callable[[], Iterable[Reading]]) -> None:
        """Read a gauge whenever its value is asked for."""
        ...
