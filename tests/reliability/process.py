"""A worker process: the real batch handler, adapters, acknowledger and relay, on a `Wire`.

This module does by hand, on one thread, what Celery's process does between them: receive, split
into batches, handle, acknowledge. A crash discards the whole process, and `run_to_rest` starts
another one, as a supervisor would.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from itertools import cycle
from typing import Any

from adapters.dynamodb import DynamoDBOutbox, DynamoDBUserRepository, Retries
from adapters.dynamodb.table import OUTBOX_PREFIX
from adapters.sns.publisher import SnsPublisher
from adapters.sqs.command_queue import SqsCommandQueue, SqsError
from application.batch import BatchHandler, Ports
from application.batch_policy import BatchPolicy
from application.event_topics import EventTopics
from application.key_ring import KeyRing
from application.messages import MessageParser, render_events
from application.outbox import SHARDS
from application.ports import Clock, StoreUnavailableError
from application.relay import Relay, RelayPolicy
from tests.builders import HASH_KEYS
from tests.reliability import wire
from tests.reliability.world import World
from worker.transport.acknowledger import Acknowledger
from worker.transport.batching import as_task_argument, into_batches
from worker.transport.in_flight import InFlight

PARSER = MessageParser(["customer", "admin"])
VISIBILITY_TIMEOUT = 60
MAX_ROUNDS = 40
"""Limit of rounds of receiving and relaying, after which a run counts as not terminating.
A message has 12 receives."""


class Process(wire.Process):
    """One worker process."""

    def __init__(
        self,
        world: World,
        on: wire.Wire,
        *,
        sleep: Callable[[float], None] = lambda _: None,
        draw: Callable[[float, float], float] = lambda _low, high: high,
        hash_keys: KeyRing = HASH_KEYS,
        second_scrub_after: timedelta = timedelta(),
    ) -> None:
        """Start without making a call. `sleep` and `draw` are its pauses and its jitter."""
        retries = Retries(sleep=sleep)
        dynamodb = on.connect(world.dynamodb, self)
        outbox = DynamoDBOutbox(
            dynamodb,
            world.table,
            retries,
            page_size=3,
            parallel=1,  # one thread, so that a seed repeats the order of calls
            choose_shard=cycle(range(SHARDS)).__next__,
        )
        sns = on.connect(world.sns, self)
        publisher = EventTopics(
            SnsPublisher(sns, world.topic_arn, sleep=sleep),
            SnsPublisher(sns, world.personal_topic_arn, sleep=sleep),
            parallel=False,  # one thread, as above
        )
        self.repository = DynamoDBUserRepository(dynamodb, world.table, retries)
        ports = Ports(self.repository, outbox, publisher, world.clock)
        self._handler = BatchHandler(ports, PARSER, policy(sleep, draw, world.clock, hash_keys))
        relay_policy = RelayPolicy(1, timedelta(seconds=30), second_scrub_after=second_scrub_after)
        self._relay = Relay(outbox, publisher, world.clock, relay_policy, render_events)
        self._fifo = world.queue.endswith(".fifo")
        self._queue = SqsCommandQueue(
            world.queue,
            world.dead_letter_queue,
            world.quarantine_queue,
            lambda _wait: on.connect(world.sqs, self),
        )

    def poll(self, most: int = 10) -> bool:
        """Receive once and handle the messages; return True if there were any."""
        try:
            received = self._queue.receive(most, 0, VISIBILITY_TIMEOUT)
        except SqsError:
            return False
        in_flight = InFlight(VISIBILITY_TIMEOUT, self._fifo)
        in_flight.hold(received, 0.0, VISIBILITY_TIMEOUT)
        for batch in into_batches("commands", received, fifo=self._fifo):
            settlements = self._handler.handle(as_task_argument(batch, fifo=self._fifo))
            in_flight.apply(zip(batch.receipts, settlements.items, strict=True), 0.0)
            self._settle(in_flight)
        return bool(received)

    def relay(self) -> None:
        """Run the relay once for every shard of the outbox."""
        for _ in range(SHARDS):
            with suppress(StoreUnavailableError):  # the relay's thread logs it and continues
                self._relay.run_once()

    def _settle(self, in_flight: InFlight) -> None:
        """Apply the dispositions like the transport, one call at a time."""
        settler = Acknowledger("commands", self._queue, in_flight)  # its threads are not started
        now = 0.0
        while in_flight.unfinished:
            now += 6  # more than any pause before a retry
            for call in in_flight.due(now, 1):
                in_flight.finish(call, settler._make(call), now)


def policy(
    sleep: Callable[[float], None],
    draw: Callable[[float, float], float],
    clock: Clock,
    hash_keys: KeyRing = HASH_KEYS,
) -> BatchPolicy:
    """Return the limits of a worker, with the pauses, the jitter and the clock of the test."""
    return BatchPolicy(
        max_receives=12,
        outcome_lifetime=timedelta(days=90),
        command_lifetime=timedelta(days=60),
        registration_grace=timedelta(seconds=60),
        hash_keys=hash_keys,
        registration_receives=1,  # no command waits: messages are older than the grace period
        draw=draw,
        sleep=sleep,
        monotonic=lambda: clock.now().timestamp(),
    )


class RestlessError(AssertionError):
    """Work is left over, however long one waits."""


def run_to_rest(world: World, on: wire.Wire, **options: Any) -> int:
    """Run workers, a new one after each crash, until nothing is left; return their number."""
    lives, process = 1, Process(world, on, **options)
    for _ in range(MAX_ROUNDS):
        try:
            while process.poll():
                pass
            process.relay()
        except wire.ProcessCrash:
            lives, process = lives + 1, Process(world, on, **options)
        if at_rest(world):
            on.arrive(all_of_them=True)
            if at_rest(world):
                return lives
        world.let_time_pass()
    raise RestlessError("work is left over")


def at_rest(world: World) -> bool:
    """Return True if no message is left, and no pointer but parked ones."""
    return not world.waiting() and not any(_is_entry(item) for item in world.items())


def _is_entry(item: dict[str, Any]) -> bool:
    partition: str = item["pk"]["S"]
    return partition.startswith(OUTBOX_PREFIX) and partition != "OUTBOX#PARKED"
