"""The environment of a real worker: table, queues, topics, and subscribers that listen.

A test sends commands, lets real `celery -A worker.app worker` processes handle them, and then
checks the result: outcomes in the table, events at the subscriber, messages in the queues.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3

from adapters.dynamodb.outbox import DynamoDBOutbox
from adapters.dynamodb.repository import DynamoDBUserRepository
from adapters.provision import Provisioned, provision
from application.messages import render_command, render_events
from application.messages.commands import command_data
from application.ports import CommandKey
from application.repository import LoadRequest, Outcome, Snapshot
from domain.commands import Command
from domain.user import User
from tests.builders import register
from tests.conftest import ResourceNames
from tests.e2e.worker_process import FORKED, Queues, WorkerProcess, eventually, worker
from worker.bootstrap import resources
from worker.settings import load_settings

THREADS = ("-P", "threads", "-c", "2")
PREFORK = ("-P", "prefork", "-c", "2")


@dataclass(frozen=True, slots=True)
class Message:
    """A command as its producer sends it. Equal bodies are the same command sent again."""

    command_id: str
    user_id: str | None
    body: str

    @property
    def key(self) -> CommandKey:
        """Return the key of its outcome."""
        return CommandKey(self.user_id, self.command_id)


def message(command: Command, user_id: str | None, **extensions: Any) -> Message:
    """Create a new message of a command; without a user id, the command names a user by e-mail."""
    command_id = str(uuid4())
    body = render_command(
        command.type,
        command_data(command),
        command_id=command_id,
        source="/test",
        user_id=user_id,
        **extensions,
    )
    return Message(command_id, user_id, body)


def event_ids(outcomes: Iterable[Outcome]) -> set[str]:
    """Return the ids of the events that outcomes must publish on the topic."""
    return {event.event_id for outcome in outcomes for event in render_events(outcome)}


def log_lines(worker: WorkerProcess, event: str | None = None) -> list[dict[str, Any]]:
    """Return what a worker logged in JSON, without its banner and any incomplete line."""
    rows: list[dict[str, Any]] = []
    for line in worker.log.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and event in (None, row.get("event")):
            rows.append(row)
    return rows


def decided(worker: WorkerProcess) -> list[dict[str, Any]]:
    """Return a worker's log line for each command that it decided."""
    return log_lines(worker, "command")


@dataclass(slots=True)
class System:
    """A table, a queue and those of its dead letters, both topics with a subscription, and clients.

    Calls of the test itself go to AWS directly, whatever endpoint its workers use.
    """

    names: ResourceNames
    endpoint: str
    folder: Path
    queues: Queues
    repository: DynamoDBUserRepository
    outbox: DynamoDBOutbox
    events_url: str
    topic_arn: str
    personal_url: str
    personal_topic_arn: str
    _events: list[dict[str, Any]] = field(default_factory=list)
    _complete: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def create(cls, endpoint: str, folder: Path, *, fifo: bool = False, **settings: Any) -> System:
        """Create all resources, under unique names."""
        names = ResourceNames.unique(fifo=fifo)
        made = _provision(names, endpoint, **settings)
        ordinary, personal = made.topic_arns
        dynamodb = boto3.client("dynamodb", endpoint_url=endpoint)
        sqs = boto3.client("sqs", endpoint_url=endpoint)
        return cls(
            names,
            endpoint,
            folder,
            Queues(names, sqs, *_urls(made, names)),
            DynamoDBUserRepository(dynamodb, names.table),
            DynamoDBOutbox(dynamodb, names.table),
            _subscribe(sqs, endpoint, ordinary),
            ordinary,
            _subscribe(sqs, endpoint, personal),
            personal,
        )

    def renew_queues(self) -> None:
        """Delete the queues with all their messages, and continue with new ones.

        Table and topic stay. A killed worker may have left a poll behind, which would take messages
        from the old queue that nobody handles.
        """
        self.queues.delete()
        fresh = ResourceNames.unique()
        self.names = replace(
            self.names,
            command_queue=fresh.command_queue,
            dead_letter_queue=fresh.dead_letter_queue,
            quarantine_queue=fresh.quarantine_queue,
        )
        made = _provision(self.names, self.endpoint)
        self.queues = Queues(self.names, self.queues.sqs, *_urls(made, self.names))

    def delete(self) -> None:
        """Delete all resources."""
        boto3.client("dynamodb", endpoint_url=self.endpoint).delete_table(
            TableName=self.names.table
        )
        sns = boto3.client("sns", endpoint_url=self.endpoint)
        sns.delete_topic(TopicArn=self.topic_arn)
        sns.delete_topic(TopicArn=self.personal_topic_arn)
        self.queues.delete()
        self.queues.sqs.delete_queue(QueueUrl=self.events_url)
        self.queues.sqs.delete_queue(QueueUrl=self.personal_url)

    def worker(
        self,
        options: Sequence[str] = THREADS,
        *,
        endpoint: str | None = None,
        start: str = FORKED,
        app: str = "worker.app",
        **environment: str,
    ) -> AbstractContextManager[WorkerProcess]:
        """Run a worker on this system.

        `environment` are settings in upper case, without their prefix. See `worker` for `start`.
        """
        return worker(
            self.names,
            endpoint or self.endpoint,
            self.folder,
            options,
            app=app,
            start=start,
            USER_WORKER_ENV="test",
            USER_WORKER_TABLE=self.names.table,
            USER_WORKER_EVENTS_TOPIC=self.names.events_topic,
            USER_WORKER_PERSONAL_TOPIC=self.names.personal_topic,
            **{f"USER_WORKER_{name}": value for name, value in environment.items()},
        )

    def quiet(self, seconds: float = 30) -> None:
        """Wait until all commands are acknowledged and all published events have been received.

        To know this for the events, it sends a last command for a new user, whose event comes after
        all others.
        """
        eventually(self.queues.empty, seconds, "an empty queue")
        last = message(register(f"last-{uuid4().hex}"), str(uuid4()))
        self.published(self.do(last, seconds=seconds), seconds)
        eventually(self.queues.empty, seconds, "an empty queue")

    # --- in --------------------------------------------------------------------------------

    def send(self, *messages: Message, group: str | None = None) -> None:
        """Put messages on the queue, in order."""
        self.queues.send(*[message.body for message in messages], group=group)

    def do(self, *messages: Message, seconds: float = 30) -> list[Outcome]:
        """Send messages; wait for their outcomes and return one per message, in the same order."""
        self.send(*messages)
        return self.outcomes(messages, seconds)

    # --- out -------------------------------------------------------------------------------

    def outcomes(self, messages: Sequence[Message], seconds: float = 30) -> list[Outcome]:
        """Wait for the outcome of every message; return them in the order of the messages."""
        found: dict[CommandKey, Outcome] = {}

        def complete() -> bool:
            missing = {message.key for message in messages} - found.keys()
            found.update(self.load(outcomes=missing).outcomes)
            return len(missing - found.keys()) == 0

        eventually(complete, seconds, f"an outcome for each of {len(messages)} messages")
        return [found[message.key] for message in messages]

    def load(self, **wanted: Any) -> Snapshot:
        """Read from the table; the arguments are those of `LoadRequest`."""
        return self.repository.load(LoadRequest(**wanted))

    def user(self, user_id: str) -> User:
        """Return a user, who must exist."""
        user = self.repository.get(user_id)
        assert user is not None
        return user

    def events(self) -> list[dict[str, Any]]:
        """Receive new events of the ordinary topic.

        Return all events so far, with duplicates, in order of arrival.
        """
        self._events += map(json.loads, self.bodies(self.events_url))
        return self._events

    def complete_events(self) -> list[dict[str, Any]]:
        """Receive new events of the personal topic; return what `events` returns for it."""
        self._complete += map(json.loads, self.bodies(self.personal_url))
        return self._complete

    def bodies(self, url: str) -> list[str]:
        """Receive and delete the messages that a queue of a subscriber has; return their bodies."""
        bodies: list[str] = []
        while True:
            answer = self.queues.sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0
            )
            rows = answer.get("Messages", [])
            if not rows:
                return bodies
            bodies += [row["Body"] for row in rows]
            entries = [
                {"Id": str(i), "ReceiptHandle": row["ReceiptHandle"]} for i, row in enumerate(rows)
            ]
            self.queues.sqs.delete_message_batch(QueueUrl=url, Entries=entries)

    def published(self, outcomes: Iterable[Outcome], seconds: float = 30) -> list[dict[str, Any]]:
        """Wait for all events of the outcomes; return them deduplicated, in order of arrival."""
        wanted = event_ids(outcomes)

        def all_out() -> bool:
            return wanted <= {event["id"] for event in self.events()}

        eventually(all_out, seconds, f"{len(wanted)} events on the topic")
        return list({e["id"]: e for e in self._events if e["id"] in wanted}.values())

    def caused_by(self, message: Message) -> set[str]:
        """Return the ids of the events so far that a command caused."""
        return {e["id"] for e in self.events() if e["causationid"] == message.command_id}

    def publications(self) -> Counter[str]:
        """Count how often each event has been received so far."""
        return Counter(event["id"] for event in self.events())


def _urls(made: Provisioned, names: ResourceNames) -> tuple[str, str, str]:
    urls = made.queue_urls
    return (
        urls[names.command_queue],
        urls[names.dead_letter_queue],
        urls[names.quarantine_queue],
    )


def _provision(names: ResourceNames, endpoint: str, **settings: Any) -> Provisioned:
    """Create missing resources, as a worker would."""
    chosen = load_settings(**(asdict(names) | {"env": "test"} | settings))
    return provision(
        resources(chosen),
        boto3.client("dynamodb", endpoint_url=endpoint),
        boto3.client("sqs", endpoint_url=endpoint),
        boto3.client("sns", endpoint_url=endpoint),
    )


def _subscribe(sqs: Any, endpoint: str, topic_arn: str) -> str:
    """Subscribe a new queue to the topic; return its URL."""
    topic = topic_arn.rpartition(":")[2]
    fifo = {"FifoQueue": "true"} if topic.endswith(".fifo") else {}
    url: str = sqs.create_queue(QueueName=f"heard-{topic}", Attributes=fifo)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    boto3.client("sns", endpoint_url=endpoint).subscribe(
        TopicArn=topic_arn,
        Protocol="sqs",
        Endpoint=arn["Attributes"]["QueueArn"],
        Attributes={"RawMessageDelivery": "true"},
    )
    return url
