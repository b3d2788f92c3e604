"""The servers of the benchmark behave as AWS does, where the benchmark relies on it."""

from __future__ import annotations

import asyncio
import http.client
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any
from uuid import uuid4

import boto3
import pytest

from adapters.sqs.command_queue import SqsCommandQueue
from benchmarks.fake_aws import FakeAws
from benchmarks.fake_queue import Message, Poll, Queue
from benchmarks.tables import provision_resources
from benchmarks.wire import HOST, Handler, HttpConnection
from worker.connections import Aws
from worker.errors import CliError
from worker.resources.requirements import check
from worker.settings import Settings

TOPIC = "arn:aws:sns:us-east-1:000000000000:user-events"


@dataclass(frozen=True, slots=True)
class Server:
    """A server in a thread, and where it listens."""

    port: int
    """Of SQS and SNS."""
    table_port: int
    """Of DynamoDB, which is an empty table."""

    @property
    def url(self) -> str:
        """The endpoint of SQS and SNS."""
        return f"http://{HOST}:{self.port}"

    def tell(self, what: str, **request: Any) -> dict[str, Any]:
        """Speak to it as the benchmark's driver does."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        connection.request("POST", f"/_bench/{what}", json.dumps(request))
        answer: dict[str, Any] = json.load(connection.getresponse())
        connection.close()
        return answer


NAMES = {"table": "users", "queue": "commands", "dead_letters": "dead", "quarantine": "kept"}
SETTINGS = {"command_queue": "commands", "dead_letter_queue": "dead", "quarantine_queue": "kept"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """AWS as the benchmark has it, provisioned; the SDK's environment points there."""
    ports: queue.SimpleQueue[Server] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(_serve(ports.put, stop)))
    thread.start()
    server = ports.get(timeout=10)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    table_url = f"http://{HOST}:{server.table_port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", table_url)
    provision_resources(server.url, table_url, **NAMES)
    server.tell("reset")
    yield server
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


async def _serve(tell: Callable[[Server], None], stop: asyncio.Event) -> None:
    aws, connections = FakeAws("http://unknown"), list[HttpConnection]()

    def connect(handler: Handler) -> HttpConnection:
        connections.append(HttpConnection(handler))
        return connections[-1]

    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(partial(connect, handler), HOST, 0)
        for handler in (aws.handle, aws.empty_tables)
    ]
    tell(Server(*(server.sockets[0].getsockname()[1] for server in servers)))
    await stop.wait()
    for connection in connections:
        connection.close()
    for server in servers:
        server.close()
        await server.wait_closed()


def test_a_worker_that_starts_finds_what_it_requires(server: Server) -> None:
    """The check at start finds queues, table and topic, and nothing that differs."""
    assert check(Aws(Settings(env="prod", **SETTINGS))) == []  # type: ignore[arg-type]
    assert server.tell("record")["calls"]["SQS GetQueueAttributes"] == 4


@pytest.mark.parametrize(
    ("setting", "missing"),
    [
        ("command_queue", "queue"),
        ("dead_letter_queue", "queue"),
        ("quarantine_queue", "queue"),
        ("events_topic", "topic"),
    ],
)
def test_what_was_not_created_is_not_found(server: Server, setting: str, missing: str) -> None:
    """Nothing is created by naming it, so a benchmark that provisions too little fails."""
    names = SETTINGS | {setting: "absent"}
    with pytest.raises(CliError, match=f"{missing} absent"):
        check(Aws(Settings(env="prod", **names)))  # type: ignore[arg-type]  # names of settings


def test_a_table_that_was_not_created_or_is_deleted_is_not_found(server: Server) -> None:
    """The empty table is there once it is created, until it is deleted."""
    dynamodb = boto3.client("dynamodb")
    with pytest.raises(dynamodb.exceptions.ResourceNotFoundException):
        dynamodb.describe_table(TableName="absent")
    dynamodb.delete_table(TableName="users")
    with pytest.raises(dynamodb.exceptions.ResourceNotFoundException):
        dynamodb.describe_time_to_live(TableName="users")


def test_provisioning_again_changes_nothing(server: Server) -> None:
    """As on AWS: contestants share a table of many users."""
    endpoints = server.url, f"http://{HOST}:{server.table_port}"
    provision_resources(*endpoints, **NAMES)
    assert server.tell("record")["calls"].get("SQS CreateQueue") is None


def test_answers_have_the_date(server: Server) -> None:
    """The same as AWS's: a worker compares its clock with it."""
    answer = boto3.client("sqs").get_queue_url(QueueName="commands")
    date = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    assert abs(date.timestamp() - time.time()) < 5


def test_what_the_transport_does_is_answered_and_counted(server: Server) -> None:
    """Receive, postpone and delete work through this project's own adapter, and are counted."""
    sent = server.tell("load", queue="commands", bodies=["a", "b", "c"])
    commands = SqsCommandQueue("commands", "dead", "quarantine")
    first = commands.receive(10, 1)
    assert [message.body for message in first] == ["a", "b", "c"]
    assert {message.receives for message in first} == {1}
    assert abs(first[0].sent_at - sent["sent_at"]) < 0.002
    assert commands.change_visibility([(first[0].receipt, 0)]) == {}
    assert [message.receives for message in commands.receive(10, 1)] == [2]
    assert commands.delete([message.receipt for message in first[1:]]) == {}
    record = server.tell("record")
    assert record["deleted"] == 2
    assert record["calls"]["SQS ReceiveMessage"] == 2
    assert record["receives"] == {"commands": 2}
    assert record["calls"]["SQS DeleteMessageBatch"] == 1
    assert server.tell("progress", queue="commands")["invisible"] == 1


def test_an_old_receipt_deletes_nothing(server: Server) -> None:
    """A message that appeared again is not deleted by the receipt of its first delivery."""
    server.tell("load", queue="commands", bodies=["a"])
    commands = SqsCommandQueue("commands", "dead", "quarantine")
    [first] = commands.receive(10, 1)
    commands.change_visibility([(first.receipt, 0)])
    commands.delete([first.receipt])
    assert [message.body for message in commands.receive(10, 1)] == ["a"]


def test_a_waiting_receive_gets_what_is_sent(server: Server) -> None:
    """A long poll ends with the message, not with its time."""
    commands = SqsCommandQueue("commands", "dead", "quarantine")
    received: list[Any] = []
    thread = threading.Thread(target=lambda: received.extend(commands.receive(10, 20)))
    thread.start()
    while server.tell("progress", queue="commands")["polls"] == 0:
        pass
    server.tell("load", queue="commands", bodies=["a"])
    thread.join(5)
    assert [message.body for message in received] == ["a"]


@pytest.mark.parametrize("spaces", [(",", ":"), (", ", ": ")])
def test_published_commands_are_known(server: Server, spaces: tuple[str, str]) -> None:
    """Each publication tells which command caused it, in a batch or alone, spaced or not."""
    causes = [str(uuid4()) for _ in range(3)]
    events = [json.dumps({"causationid": cause}, separators=spaces) for cause in causes]
    sns = boto3.client("sns")
    answer = sns.publish_batch(
        TopicArn=TOPIC,
        PublishBatchRequestEntries=[
            {"Id": str(place), "Message": event} for place, event in enumerate(events[:2])
        ],
    )
    assert [row["Id"] for row in answer["Successful"]] == ["0", "1"]
    assert sns.publish(TopicArn=TOPIC, Message=events[2])["MessageId"]
    record = server.tell("record")
    assert record["published"].keys() == set(causes)
    assert record["calls"] == {"SNS PublishBatch": 1, "SNS Publish": 1}


def test_an_operation_that_is_not_built_is_refused(server: Server) -> None:
    """It is an error, not a silent success."""
    sqs, sns = boto3.client("sqs"), boto3.client("sns")
    with pytest.raises(sqs.exceptions.UnsupportedOperation):
        sqs.purge_queue(QueueUrl="http://unknown/000000000000/commands")
    with pytest.raises(sns.exceptions.ClientError, match="InvalidAction"):
        sns.delete_topic(TopicArn=TOPIC)


def test_a_message_appears_again_after_its_visibility_timeout() -> None:
    """By the queue's clock: not earlier, and at a changed deadline if it was changed."""
    now = [1000.0]
    commands = Queue(lambda: now[0], {"VisibilityTimeout": "60"})
    commands.send(["a", "b"])
    received: list[Message] = []
    commands.receive(Poll(2, received.extend))
    commands.change_visibility(received[0].receipt, 5)
    commands.change_visibility(received[1].receipt, 120)
    now[0] += 5
    again: list[Message] = []
    commands.receive(Poll(10, again.extend))
    assert [message.body for message in again] == ["a"]
    assert commands.depth()["invisible"] == 2


def test_scheduled_commands_arrive_one_by_one(server: Server) -> None:
    """Each at its time, which is recorded by command id."""
    arrivals = [(0.05 * number, f"id-{number}", f"body {number}") for number in range(4)]
    began = server.tell("schedule", queue="commands", arrivals=arrivals)["sent_at"]
    received: list[str] = []
    while len(received) < 4:
        received += [m.body for m in SqsCommandQueue("commands", "dead", "kept").receive(10, 1, 30)]
    assert received == [f"body {number}" for number in range(4)]
    arrived = server.tell("record")["arrived_at"]
    for number in range(4):
        assert 0.05 * number <= arrived[f"id-{number}"] - began + 0.005 < 0.05 * number + 1
