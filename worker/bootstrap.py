"""The composition root: the one place that knows which adapter stands behind which port."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from urllib.parse import urlsplit

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from adapters.aws import client as aws
from adapters.aws.call_observer import Client, observe
from adapters.aws.client import AwsConfigurationError
from adapters.aws.fast_calls import use_fast_calls
from adapters.clock import SystemClock
from adapters.dynamodb.outbox import DynamoDBOutbox
from adapters.dynamodb.repository import DynamoDBUserRepository
from adapters.errors import ResourceMismatchError
from adapters.memory.outbox import MemoryOutbox
from adapters.memory.repository import MemoryUserRepository
from adapters.memory.store import MemoryStore
from adapters.provision import Resources, provision
from adapters.sns.publisher import SnsPublisher
from adapters.sqs.command_queue import SqsCommandQueue, make_client
from application.batch import BatchHandler, BatchPolicy, Ports
from application.disposition import Dispositions, ReceivedMessage, Retry
from application.messages import MessageParser
from application.relay import Relay, RelayPolicy
from application.retry import delay
from worker import telemetry
from worker.health.clock import ClockWatch
from worker.settings import Settings, load_settings
from worker.telemetry.port import Batches
from worker.transport.consumer import QueueConsumer
from worker.transport.port import CommandQueue

logger = structlog.get_logger(__name__)

PUBLISH_TIMEOUT = 5.0
"""Seconds to wait for the topic's answer; what it does not take then is the relay's."""
COMMAND_AGE_MARGIN = timedelta(days=30)
"""A command must be this much younger than its outcome's lifetime: so long may it be repeated."""


class NotReadyError(Exception):
    """What the worker needs is not there; the message is one line for a person."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker's parts, put together."""

    settings: Settings
    ports: Ports
    batch: Batches
    relay: Relay


_workers: dict[int, Worker] = {}
"""By process: a forked child must not use its parent's connections."""


def worker() -> Worker:
    """Give this process's worker, building it at the first call.

    Raises:
        SettingsError: a setting is wrong.
    """
    pid = os.getpid()
    if pid not in _workers:
        _workers.clear()
        _workers[pid] = build(load_settings())
    return _workers[pid]


def handle_batch(messages: Sequence[ReceivedMessage]) -> Dispositions:
    """Handle a task's messages; give one settlement each.

    A child that cannot make its clients, for want of credentials perhaps, is as good as a store
    that is away: its messages come back, all with one delay, as groups have to.
    """
    try:
        batch = worker().batch
    except Exception:
        logger.exception("worker_not_built")
        receives = max((message["receives"] for message in messages), default=1)
        return Dispositions((Retry(delay(receives, random.uniform)),) * len(messages), store=False)
    return batch.handle(messages)


def build(settings: Settings) -> Worker:
    """Put a worker together, watched by this process's telemetry."""
    watch = telemetry.of_process()
    ports = watch.ports(build_ports(settings))
    parser = watch.parser(MessageParser(settings.roles))
    lifetime = timedelta(days=settings.outcome_days)
    policy = BatchPolicy(
        max_receives=settings.max_receives,
        outcome_lifetime=lifetime,
        command_lifetime=lifetime - COMMAND_AGE_MARGIN,
        registration_grace=timedelta(seconds=settings.registration_grace),
    )
    relay_policy = RelayPolicy(settings.relay_interval, timedelta(seconds=settings.relay_age))
    return Worker(
        settings=settings,
        ports=ports,
        batch=watch.batches(BatchHandler(ports, parser, policy, watch.observer)),
        relay=Relay(ports.outbox, ports.publisher, ports.clock, relay_policy),
    )


def build_ports(settings: Settings) -> Ports:
    """Choose the adapters; clients are made here, and nothing is called yet."""
    # The publisher tries again by itself, and a topic that hangs must not hold up what is done.
    sns = _fast(aws.client("sns", read_timeout=PUBLISH_TIMEOUT, attempts=1))
    publisher = SnsPublisher(sns, settings.events_topic)
    if settings.repository == "memory":
        store = MemoryStore()
        return Ports(MemoryUserRepository(store), MemoryOutbox(store), publisher, SystemClock())
    client = _fast(aws.client("dynamodb"))
    return Ports(
        repository=DynamoDBUserRepository(client, settings.table),
        outbox=DynamoDBOutbox(client, settings.table),
        publisher=publisher,
        clock=SystemClock(),
    )


def provision_for_development(settings: Settings) -> bool:
    """Make table, queues and topic where the settings ask for it, on an emulator only.

    Gives whether it did: then what was there is as it has to be.

    Nobody wants a table in a real account because a worker was started: as soon as one of the
    services is Amazon's, nothing is made. `user-worker provision` is for that.

    Raises:
        NotReadyError: they cannot be made; the message is one line for a person.
    """
    if not settings.create_resources:
        return False
    try:
        clients = aws.client("dynamodb"), aws.client("sqs"), aws.client("sns")
        if any(_is_amazons(client.meta.endpoint_url) for client in clients):
            return False
        provision(resources(settings), *clients)
    except (AwsConfigurationError, ResourceMismatchError, ClientError, BotoCoreError) as error:
        raise NotReadyError(str(error)) from error
    return True


def _is_amazons(endpoint_url: str) -> bool:
    host = urlsplit(endpoint_url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def resources(settings: Settings) -> Resources:
    """Name what the worker needs to be there."""
    return Resources(
        env=settings.env,
        table=settings.table,
        command_queues=settings.queues,
        dead_letter_queue=settings.dead_letter_queue,
        events_topic=settings.events_topic.rpartition(":")[2],  # the name, of an ARN too
        visibility_timeout=settings.visibility_timeout,
        max_receives=settings.max_receives,
    )


def command_queue_factory(name: str) -> CommandQueue:
    """Make the queue of a name for the transport, with its dead-letter queue."""
    dead_letters = load_settings().dead_letter_queue
    queue = SqsCommandQueue(
        name, dead_letters, lambda wait: _fast(make_client(wait)), clock_watch().observe
    )
    return telemetry.of_process().queue(name, queue)


@cache
def clock_watch() -> ClockWatch:
    """Return what compares this process's clock with the answers of all its queues."""
    return ClockWatch()


def watch_consumer(consumer: QueueConsumer) -> None:
    """Have this process's telemetry watch what serves a queue."""
    telemetry.of_process().consumer(consumer)


def _fast(client: Client) -> Client:
    """Replace the calls of every batch by fast ones, and have telemetry observe all calls."""
    use_fast_calls(client)
    calls = telemetry.of_process().calls
    return client if calls is None else observe(client, calls)
