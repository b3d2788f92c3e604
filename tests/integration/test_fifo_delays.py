"""Order and groups of queues, on record because the worker's rules depend on it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.conftest import GIVEN_ENDPOINT, ResourceNames
from tests.e2e.worker_process import Queues

on_localstack = pytest.mark.localstack
on_the_embedded_aws = pytest.mark.skipif(
    GIVEN_ENDPOINT is not None, reason="tells what the embedded AWS does"
)


@pytest.fixture
def fifo(fifo_resource_names: ResourceNames, aws_endpoint: str) -> Iterator[Queues]:
    """A FIFO queue with a visibility timeout of 30 s."""
    queues = Queues.create(fifo_resource_names, aws_endpoint, 30)
    yield queues
    queues.delete()


def _receive(queues: Queues) -> list[Any]:
    answer = queues.sqs.receive_message(
        QueueUrl=queues.url, MaxNumberOfMessages=10, WaitTimeSeconds=1
    )
    rows: list[Any] = answer.get("Messages", [])
    return rows


def _after_delays(queues: Queues, delays: Sequence[int]) -> list[str]:
    """Delay five messages of one group, each by its delay; return the order they reappear in."""
    queues.send(*"abcde", group="user-1")
    rows = _receive(queues)
    assert [row["Body"] for row in rows] == list("abcde")
    entries = [
        {"Id": str(n), "ReceiptHandle": row["ReceiptHandle"], "VisibilityTimeout": delay}
        for n, (row, delay) in enumerate(zip(rows, delays, strict=True))
    ]
    answer = queues.sqs.change_message_visibility_batch(QueueUrl=queues.url, Entries=entries)
    assert not answer.get("Failed")
    order: list[str] = []
    deadline = time.monotonic() + 10
    while len(order) < len(rows) and time.monotonic() < deadline:
        for row in _receive(queues):
            order.append(row["Body"])
            queues.sqs.delete_message(QueueUrl=queues.url, ReceiptHandle=row["ReceiptHandle"])
    assert sorted(order) == list("abcde")
    return order


@pytest.mark.parametrize("delay", [0, 1])
def test_a_group_postponed_with_one_delay_is_received_in_order(fifo: Queues, delay: int) -> None:
    """The worker relies on this when it retries a whole group."""
    assert _after_delays(fifo, [delay] * 5) == list("abcde")


@on_localstack
def test_unequal_delays_break_the_order_on_localstack(fifo: Queues) -> None:
    """The reason for one delay per group: here the later messages overtake the first."""
    assert _after_delays(fifo, [2, 0, 0, 0, 0]) == list("bcdea")


@on_the_embedded_aws
def test_unequal_delays_hold_the_whole_group_on_the_embedded_aws(fifo: Queues) -> None:
    """It differs from LocalStack: while one message of a group is delayed, none is received."""
    assert _after_delays(fifo, [2, 0, 0, 0, 0]) == list("abcde")


def test_no_message_of_a_group_is_received_while_one_is_in_flight_but_others_are(
    fifo: Queues,
) -> None:
    """So a second worker cannot overtake the first, and groups run in parallel."""
    fifo.send(*[f"a{n}" for n in range(12)], group="a")
    fifo.send("b0", "b1", group="b")
    first, second = _receive(fifo), _receive(fifo)
    assert [row["Body"] for row in first] == [f"a{n}" for n in range(10)]
    assert [row["Body"] for row in second] == ["b0", "b1"]
    assert _receive(fifo) == []


# --- fair queues: a group on a standard queue ------------------------------------------------


def _groups_of(sqs: Any, url: str) -> list[str]:
    """Send two messages of one group to a standard queue; return the groups of both receives."""
    entries = [{"Id": str(n), "MessageBody": "x", "MessageGroupId": "signup"} for n in range(2)]
    answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)
    assert not answer.get("Failed")
    groups: list[str] = []
    deadline = time.monotonic() + 10
    while len(groups) < len(entries) and time.monotonic() < deadline:
        answer = sqs.receive_message(  # one a call: a group that locked would keep the second back
            QueueUrl=url,
            MaxNumberOfMessages=1,
            WaitTimeSeconds=1,
            MessageSystemAttributeNames=["MessageGroupId"],
        )
        groups += [row["Attributes"]["MessageGroupId"] for row in answer.get("Messages", [])]
    return groups


def test_a_standard_queue_takes_a_group_and_does_not_lock_it(
    resource_names: ResourceNames, aws_endpoint: str
) -> None:
    """A fair queue, on LocalStack and on the embedded AWS: the group is only passed along."""
    queues = Queues.create(resource_names, aws_endpoint, 30)
    assert _groups_of(queues.sqs, queues.url) == ["signup", "signup"]
    queues.delete()


def test_moto_takes_a_group_on_a_standard_queue_as_well() -> None:
    """In process; no emulator of these tests refuses it."""
    with mock_aws():
        sqs = boto3.client("sqs")
        url = sqs.create_queue(QueueName="commands")["QueueUrl"]
        assert _groups_of(sqs, url) == ["signup", "signup"]
