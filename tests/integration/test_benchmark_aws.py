"""The servers that the benchmark measures against keep the promises that it relies on."""

from __future__ import annotations

import asyncio
import http.client
import json
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import boto3
import pytest

from adapters.sqs import SqsCommandQueue
from benchmarks.fake_aws import FakeAws
from benchmarks.fake_queue import Message, Poll, Queue
from benchmarks.wire import HOST, HttpConnection

TOPIC = "arn:aws:sns:us-east-1:000000000000:user-events"


@dataclass(frozen=True, slots=True)
class Server:
    """A server in a thread, and where it listens."""

    port: int

    def tell(self, what: str, **request: Any) -> dict[str, Any]:
        """Speak to it as the benchmark's driver does."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        connection.request("POST", f"/_bench/{what}", json.dumps(request))
        answer: dict[str, Any] = json.load(connection.getresponse())
        connection.close()
        return answer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """SQS and SNS as the benchmark has them; the SDK's environment points there."""
    ports: queue.SimpleQueue[int] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(_serve(ports.put, stop)))
    thread.start()
    port = ports.get(timeout=10)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{HOST}:{port}")
    yield Server(port)
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


async def _serve(tell_port: Callable[[int], None], stop: asyncio.Event) -> None:
    aws, connections = FakeAws("http://unknown"), list[HttpConnection]()

    def connect() -> HttpConnection:
        connections.append(HttpConnection(aws.handle))
        return connections[-1]

    listening = await asyncio.get_running_loop().create_server(connect, HOST, 0)
    tell_port(listening.sockets[0].getsockname()[1])
    await stop.wait()
    for connection in connections:
        connection.close()
    listening.close()
    await listening.wait_closed()


def test_what_the_transport_does_is_answered_and_counted(server: Server) -> None:
    """Receive, postpone and delete work through this project's own adapter, and are counted."""
    sent = server.tell("load", queue="commands", bodies=["a", "b", "c"])
    commands = SqsCommandQueue("commands", "dead")
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
    commands = SqsCommandQueue("commands", "dead")
    [first] = commands.receive(10, 1)
    commands.change_visibility([(first.receipt, 0)])
    commands.delete([first.receipt])
    assert [message.body for message in commands.receive(10, 1)] == ["a"]


def test_a_waiting_receive_gets_what_is_sent(server: Server) -> None:
    """A long poll ends with the message, not with its time."""
    commands = SqsCommandQueue("commands", "dead")
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


def test_what_is_not_there_is_refused(server: Server) -> None:
    """An operation that nobody needs is an error, not a silent success."""
    assert server.port
    sqs = boto3.client("sqs")
    with pytest.raises(sqs.exceptions.UnsupportedOperation):
        sqs.purge_queue(QueueUrl="http://unknown/000000000000/commands")


def test_a_message_appears_again_after_its_visibility_timeout() -> None:
    """By the queue's clock: not before, and at the moved deadline if it was moved."""
    now = [1000.0]
    commands = Queue(lambda: now[0])
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
