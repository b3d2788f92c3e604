"""The composition root: the only module that chooses the adapter for each port."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache, partial

import structlog

from adapters.aws import client as aws
from adapters.aws.call_observer import Client, observe
from adapters.aws.fast_calls import use_fast_calls
from adapters.clock import SystemClock
from adapters.dynamodb.outbox import DynamoDBOutbox
from adapters.dynamodb.repository import DynamoDBUserRepository
from adapters.memory.outbox import MemoryOutbox
from adapters.memory.repository import MemoryUserRepository
from adapters.memory.store import MemoryStore
from adapters.provision import Resources, provision
from adapters.similar_names import SimilarName
from adapters.sns.publisher import SnsPublisher
from adapters.sqs.command_queue import SqsCommandQueue, make_client
from application.batch import BatchHandler, Ports
from application.batch_policy import BatchPolicy
from application.disposition import Dispositions, ReceivedMessage, Retry
from application.event_topics import EventTopics
from application.messages import MessageParser, render_events
from application.observer import QueueState, WorkerObserver
from application.queue_port import CommandQueue
from application.relay import Relay, RelayPolicy
from application.repository import Outcome
from application.retry import delay
from domain.commands import COMMANDS
from domain.events import EVENTS
from domain.policy import UserPolicy
from worker import logs, telemetry
from worker.health.clock import ClockWatch
from worker.permissions import load_permissions
from worker.settings import PREFIX, Settings, load_settings
from worker.transport.consumer import QueueConsumer

logger = structlog.get_logger(__name__)

PUBLISH_TIMEOUT = 5.0
"""Seconds to wait for the topic's answer; the relay publishes events that it does not accept."""
COMMAND_AGE_MARGIN = timedelta(days=30)
"""Difference between the lifetime of outcomes and the maximum age of a command; a command may be
repeated for this long."""


@dataclass(frozen=True, slots=True)
class Worker:
    """The parts of a worker."""

    settings: Settings
    ports: Ports
    batch: BatchHandler
    relay: Relay[Outcome]


_workers: dict[int, Worker] = {}
"""By process id: a forked child must not use its parent's connections."""


def worker() -> Worker:
    """Return this process's worker; build it at the first call.

    Raises:
        SettingsError: a setting is invalid.
    """
    pid = os.getpid()
    if pid not in _workers:
        _workers.clear()
        _workers[pid] = build(load_settings())
    return _workers[pid]


def handle_batch(messages: Sequence[ReceivedMessage]) -> Dispositions:
    """Process a task's messages; return one disposition per message.

    If a child cannot create its clients (for example, without credentials), the store counts as
    unavailable and all messages are retried with one delay, as FIFO groups require.
    """
    try:
        batch = worker().batch
    except Exception:
        logger.exception("worker_not_built")
        receives = max((message["receives"] for message in messages), default=1)
        return Dispositions((Retry(delay(receives, random.uniform)),) * len(messages), store=False)
    return batch.handle(messages)


def build(settings: Settings) -> Worker:
    """Build a worker, observed by this process's telemetry."""
    observer = _telemetry().observer
    ports = observe_ports(build_ports(settings), observer)
    parser = MessageParser(settings.roles)
    permissions = load_permissions(settings)
    if permissions.allow_all and settings.env == "prod":
        logger.warning("every_command_is_permitted")
    relay_policy = RelayPolicy(settings.relay_interval, timedelta(seconds=settings.relay_age))
    return Worker(
        settings=settings,
        ports=ports,
        batch=BatchHandler(ports, parser, batch_policy(settings), observer, permissions),
        relay=Relay(
            ports.outbox,
            ports.publisher,
            ports.clock,
            relay_policy,
            render_events,
            observer=observer,
        ),
    )


def _telemetry() -> telemetry.Telemetry:
    """Return this process's telemetry, which knows the types of commands and events."""
    return telemetry.of_process((*COMMANDS, *EVENTS))


def observe_ports(ports: Ports, observer: WorkerObserver) -> Ports:
    """Return the ports of batches and the relay, observed; unchanged if telemetry is off."""
    return replace(ports, publisher=telemetry.observe_publisher(ports.publisher, observer))


def batch_policy(settings: Settings) -> BatchPolicy:
    """Return the limits of a batch and of the users' rules."""
    lifetime = timedelta(days=settings.outcome_days)
    return BatchPolicy(
        max_receives=settings.max_receives,
        outcome_lifetime=lifetime,
        command_lifetime=lifetime - COMMAND_AGE_MARGIN,
        registration_grace=timedelta(seconds=settings.registration_grace),
        user=UserPolicy(
            failures_before_lock=settings.lock_after_failures,
            session_lifetime=timedelta(days=settings.session_days),
            session_idle_lifetime=timedelta(days=settings.session_idle_days),
            refresh_leeway=timedelta(seconds=settings.refresh_leeway),
        ),
        hash_keys=settings.hash_key_ring,
    )


def build_ports(settings: Settings) -> Ports:
    """Choose the adapters and create their clients; makes no call."""
    # The publisher retries by itself, and a topic without an answer must not delay the batch.
    sns = _fast(aws.client("sns", read_timeout=PUBLISH_TIMEOUT, attempts=1))
    publisher = EventTopics(
        SnsPublisher(sns, settings.events_topic), SnsPublisher(sns, settings.personal_topic)
    )
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
    """Create table, queues and topics if the settings ask for it, on an emulator only.

    Return True if they were created or checked; they then match the settings.

    Starting a worker must not create resources in a real account: if one of the services is
    Amazon's, nothing is created. Use `user-worker provision` for that.

    Raises:
        ResourceMismatchError: a resource exists with other attributes.
        ClientError, BotoCoreError, ValueError: AWS does not answer, or its settings are wrong.
    """
    if not settings.create_resources:
        return False
    clients = aws.client("dynamodb"), aws.client("sqs"), aws.client("sns")
    if any(aws.is_amazon(client.meta.endpoint_url) for client in clients):
        return False
    provision(resources(settings), *clients, partial(_log_similar, settings))
    return True


def _log_similar(settings: Settings, similar: SimilarName) -> None:
    text, advice = similar_text(settings, similar)
    logs.configure(settings.log_format, settings.log_level)  # earlier than Celery does
    logger.warning("similar_resource_exists", text=text, advice=advice)


def similar_text(settings: Settings, similar: SimilarName) -> tuple[str, str]:
    """Return a warning about a new resource whose name is probably mistyped, and advice."""
    variables = {
        settings.table: "TABLE",
        settings.dead_letter_queue: "DEAD_LETTER_QUEUE",
        settings.quarantine_queue: "QUARANTINE_QUEUE",
        settings.events_topic.rpartition(":")[2]: "EVENTS_TOPIC",
        settings.personal_topic.rpartition(":")[2]: "PERSONAL_TOPIC",
        **dict.fromkeys(settings.additional_queues, "ADDITIONAL_QUEUES"),
        settings.priority_queue or "": "PRIORITY_QUEUE",
        settings.command_queue: "COMMAND_QUEUE",
    }
    new = f"{similar.kind} {similar.missing}"
    variable = PREFIX + variables[similar.missing]
    return (
        f"{new} did not exist and was created, but {similar.kind} {similar.existing} exists",
        f"if the name is mistyped, correct {variable} and delete the new {similar.kind}",
    )


def resources(settings: Settings) -> Resources:
    """Return the names and limits of the resources that the worker needs."""
    return Resources(
        env=settings.env,
        table=settings.table,
        command_queues=settings.queues,
        dead_letter_queue=settings.dead_letter_queue,
        quarantine_queue=settings.quarantine_queue,
        # the names, of ARNs too
        topics=tuple(
            topic.rpartition(":")[2] for topic in (settings.events_topic, settings.personal_topic)
        ),
        visibility_timeout=settings.visibility_timeout,
        max_receives=settings.max_receives,
    )


def command_queue_factory(name: str) -> CommandQueue:
    """Create the queue with this name, with the queues of its letters, for the transport."""
    settings = load_settings()
    return SqsCommandQueue(
        name,
        settings.dead_letter_queue,
        settings.quarantine_queue,
        lambda wait: _fast(make_client(wait)),
        clock_watch().observe,
        observer=_telemetry().observer,
    )


@cache
def clock_watch() -> ClockWatch:
    """Return the watch that compares this process's clock with the answers of all queues."""
    return ClockWatch()


def watch_consumer(consumer: QueueConsumer) -> None:
    """Report the state of what serves a queue to this process's telemetry."""
    _telemetry().observer.queue_served(
        consumer.name,
        lambda: QueueState(
            breaker=consumer.breaker.state,
            buffered=len(consumer.buffer),
            in_flight=consumer.acknowledger.in_hand,
        ),
    )


def _fast(client: Client) -> Client:
    """Replace the calls of every batch by fast ones, and let telemetry observe all calls."""
    use_fast_calls(client)
    calls = _telemetry().calls
    return client if calls is None else observe(client, calls)
