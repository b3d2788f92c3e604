"""Contract of the command queue port: in process, in moto and at the endpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import boto3
import pytest
from moto import mock_aws

from adapters.sqs.command_queue import SqsCommandQueue
from adapters.sqs.dead_letters import time_text
from application.disposition import DeadLetter
from application.queue_port import CommandQueue, DeadLetterMessage
from tests.conftest import ResourceNames
from tests.reliability.in_process_sqs import InProcessSqs

SECONDS = 10.0
TIMEOUT = 30


@dataclass(frozen=True, slots=True)
class Queues:
    """A command queue, a way to send to it, and the content of the queues of its letters."""

    port: CommandQueue
    send: Callable[..., None]
    dead: Callable[[], list[Any]]
    quarantined: Callable[[], list[Any]]

    def receive(self, count: int, most: int = 10) -> list[Any]:
        """Receive until the given number of messages has arrived, at most `most` per call."""
        messages: list[Any] = []
        deadline = time.monotonic() + SECONDS
        while len(messages) < count and time.monotonic() < deadline:
            got = self.port.receive(most, 1, TIMEOUT)
            assert len(got) <= most
            messages += got
        assert len(messages) == count
        return messages


def _in_process(names: ResourceNames) -> Iterator[Queues]:
    sqs = InProcessSqs(
        time.time, {names.command_queue: names.dead_letter_queue}, names.quarantine_queue
    )

    def send(*bodies: str, group: str | None = None) -> None:
        for body in bodies:
            sqs.send(names.command_queue, body, group, time.time())

    def content(name: str) -> list[Any]:
        return [(row.body, row.attributes) for row in sqs.queues[name]]

    yield Queues(
        _port(names, lambda _: sqs),
        send,
        partial(content, names.dead_letter_queue),
        partial(content, names.quarantine_queue),
    )


def _port(names: ResourceNames, *more: Any) -> SqsCommandQueue:
    queues = names.command_queue, names.dead_letter_queue, names.quarantine_queue
    return SqsCommandQueue(*queues, *more)


def _at_endpoint(names: ResourceNames) -> Iterator[Queues]:
    sqs: Any = boto3.Session().client("sqs")
    fifo = {"FifoQueue": "true"} if names.command_queue.endswith(".fifo") else {}
    url, dead_url, quarantine_url = (
        sqs.create_queue(QueueName=name, Attributes=fifo)["QueueUrl"]
        for name in (names.command_queue, names.dead_letter_queue, names.quarantine_queue)
    )

    def send(*bodies: str, group: str | None = None) -> None:
        for number, body in enumerate(bodies):
            unique = f"{number}-{time.monotonic_ns()}"
            more = {"MessageGroupId": group, "MessageDeduplicationId": unique} if fifo else {}
            sqs.send_message(QueueUrl=url, MessageBody=body, **more)

    def taken(from_url: str) -> list[Any]:
        rows = sqs.receive_message(
            QueueUrl=from_url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=5,
            MessageAttributeNames=["All"],
        )
        return [(row["Body"], row["MessageAttributes"]) for row in rows.get("Messages", ())]

    yield Queues(_port(names), send, partial(taken, dead_url), partial(taken, quarantine_url))
    for each in (url, dead_url, quarantine_url):
        sqs.delete_queue(QueueUrl=each)
    sqs.close()


def _in_moto(names: ResourceNames) -> Iterator[Queues]:
    with mock_aws():
        yield from _at_endpoint(names)


def _on_aws(names: ResourceNames) -> Iterator[Queues]:
    yield from _at_endpoint(names)


KINDS = {"in_process": _in_process, "moto": _in_moto, "on_aws": _on_aws}
EACH = ["in_process", "moto", pytest.param("on_aws", marks=pytest.mark.aws)]


def _use_endpoint(request: pytest.FixtureRequest) -> None:
    patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    patch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("aws_endpoint"))


def _made(kind: str, names: ResourceNames, request: pytest.FixtureRequest) -> Iterator[Queues]:
    if kind == "on_aws":
        _use_endpoint(request)
    yield from KINDS[kind](names)


@pytest.fixture(params=EACH)
def queues(request: pytest.FixtureRequest, resource_names: ResourceNames) -> Iterator[Queues]:
    """Each standard queue in turn."""
    yield from _made(request.param, resource_names, request)


@pytest.fixture(params=EACH)
def fifo(request: pytest.FixtureRequest, fifo_resource_names: ResourceNames) -> Iterator[Queues]:
    """Each FIFO queue in turn."""
    yield from _made(request.param, fifo_resource_names, request)


def test_a_message_is_received_as_it_was_sent_and_counted(queues: Queues) -> None:
    """After it is made visible again, it returns with receive count 2 and another receipt."""
    queues.send('{"name":"Zoë \U0001f43e"}')
    [first] = queues.receive(1)
    assert (first.body, first.receives, first.group_id) == ('{"name":"Zoë \U0001f43e"}', 1, None)
    assert abs(first.sent_at - time.time()) < TIMEOUT
    assert queues.port.change_visibility([(first.receipt, 0)]) == {}
    [again] = queues.receive(1)
    assert (again.message_id, again.receives) == (first.message_id, 2)
    assert queues.port.delete([again.receipt]) == {}


def test_a_receive_gives_no_more_than_asked_for_and_nothing_twice(queues: Queues) -> None:
    """A received message stays invisible to the next receive."""
    queues.send(*"abcde")
    messages = queues.receive(5, most=2)
    assert sorted(message.body for message in messages) == list("abcde")
    assert list(queues.port.receive(10, 0, TIMEOUT)) == []


def test_what_is_deleted_does_not_come_back_and_the_rest_does(queues: Queues) -> None:
    """Two of three messages are deleted; the third is made visible."""
    queues.send(*"abc")
    one, two, three = queues.receive(3)
    assert queues.port.delete([one.receipt, two.receipt]) == {}
    assert queues.port.change_visibility([(three.receipt, 0)]) == {}
    [left] = queues.receive(1)
    assert left.message_id == three.message_id


def test_an_invalid_receipt_fails_alone(queues: Queues) -> None:
    """An invalid receipt is reported by itself; the other entries succeed."""
    queues.send("a")
    [message] = queues.receive(1)
    changes = [("junk", 0), (message.receipt, 0)]
    assert set(queues.port.change_visibility(changes)) == {"junk"}
    assert [again.message_id for again in queues.receive(1)] == [message.message_id]


def test_a_dead_letter_has_its_reason_and_the_message_is_still_there(queues: Queues) -> None:
    """Sending and deleting are two calls, in this order, so that no message is lost in between."""
    queues.send('{"password":"x"}')
    [message] = queues.receive(1)
    shown = "[string of 16 characters]"
    letter = DeadLetterMessage(
        message, DeadLetter("NotJson", "the body is not JSON", shown, complete=False)
    )
    assert queues.port.quarantine([letter]) == {}
    assert queues.port.dead_letter([letter]) == {}
    [(original, kept)] = queues.quarantined()
    assert original == '{"password":"x"}'
    assert kept["original_message_id"]["StringValue"] == message.message_id
    [(body, attributes)] = queues.dead()
    assert body == shown
    told = {name: value["StringValue"] for name, value in attributes.items()}
    assert told.pop("received_at").endswith("+00:00")
    assert told.pop("original_sent_at") == time_text(message.sent_at)
    assert told.pop("original_queue").startswith("commands-")
    assert told == {
        "error_code": "NotJson",
        "error_detail": "the body is not JSON",
        "original_message_id": message.message_id,
        "quarantined": "redacted",
    }
    assert queues.port.change_visibility([(message.receipt, 0)]) == {}
    assert queues.receive(1)[0].message_id == message.message_id


def test_a_group_comes_in_order_and_waits_for_what_is_out(fifo: Queues) -> None:
    """While a message of a group is in flight, no other of the group is received."""
    fifo.send("a1", "a2", group="a")
    [first] = fifo.receive(1, most=1)
    assert (first.body, first.group_id) == ("a1", "a")
    fifo.send("b1", group="b")
    [other] = fifo.receive(1)
    assert other.body == "b1"
    assert fifo.port.delete([first.receipt]) == {}
    assert [message.body for message in fifo.receive(1)] == ["a2"]
