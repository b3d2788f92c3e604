"""The command queue over boto3, against SQS."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from adapters.sqs.command_queue import QueueMissingError, SqsCommandQueue, SqsError
from adapters.sqs.dead_letters import time_text
from application.disposition import DeadLetter
from application.queue_port import CommandQueue, DeadLetterMessage, RawMessage
from tests.conftest import ResourceNames
from tests.e2e.proxy import Denied, FaultyProxy, HalfAnswer, Junk, Reset, Unavailable
from tests.e2e.worker_process import Queues

KIB = 1024


@pytest.fixture
def queues(resource_names: ResourceNames, aws_endpoint: str) -> Iterator[Queues]:
    """A queue and its dead-letter queue."""
    queues = Queues.create(resource_names, aws_endpoint, 30)
    yield queues
    queues.delete()


@pytest.fixture
def fifo_queues(fifo_resource_names: ResourceNames, aws_endpoint: str) -> Iterator[Queues]:
    """Like `queues`, but FIFO."""
    queues = Queues.create(fifo_resource_names, aws_endpoint, 30)
    yield queues
    queues.delete()


def _open(queues: Queues) -> SqsCommandQueue:
    names = queues.names
    return SqsCommandQueue(names.command_queue, names.dead_letter_queue, names.quarantine_queue)


def _receive(queue: CommandQueue, count: int) -> list[Any]:
    messages: list[Any] = []
    deadline = time.monotonic() + 10
    while len(messages) < count and time.monotonic() < deadline:
        messages += queue.receive(10, 1, 60)
    assert len(messages) == count
    return messages


def test_a_message_is_received_as_it_was_sent(queues: Queues) -> None:
    """Body, id, receive count, time of sending; the adapter implements the port."""
    [sent] = queues.send('{"name":"Zoë \U0001f43e"}')
    queue: CommandQueue = _open(queues)
    [message] = _receive(queue, 1)
    assert message.message_id == sent
    assert message.body == '{"name":"Zoë \U0001f43e"}'
    assert message.receives == 1
    assert message.group_id is None
    assert abs(message.sent_at - time.time()) < 30
    assert abs(message.received_at - time.time()) < 30
    assert queue.change_visibility([(message.receipt, 0)]) == {}
    assert _receive(queue, 1)[0].receives == 2


def test_an_empty_queue_gives_nothing(queues: Queues) -> None:
    """After the requested wait."""
    assert list(_open(queues).receive(10, 1)) == []


def test_entries_that_fail_are_named_and_the_others_are_done(queues: Queues) -> None:
    """An invalid receipt among valid ones."""
    queues.send("a", "b")
    queue = _open(queues)
    one, other = _receive(queue, 2)
    assert set(queue.change_visibility([(one.receipt, 60), ("junk", 60)])) == {"junk"}
    assert set(queue.delete([one.receipt, "junk", other.receipt])) == {"junk"}
    assert queues.empty()


def test_a_dead_letter_carries_its_reason(queues: Queues) -> None:
    """With attributes and an unchanged body; invalid characters and lengths are corrected."""
    [sent] = queues.send('{"a":1}')
    queue = _open(queues)
    [message] = _receive(queue, 1)
    detail = "data.email: \x00\ufffe" + "x" * 5000
    letters = [
        DeadLetterMessage(message, DeadLetter("Malformed", detail, None)),
        DeadLetterMessage(replace(message, receipt="other"), DeadLetter("", "", "[redacted]\x00")),
    ]
    assert queue.dead_letter(letters) == {}
    first, second = sorted(queues.dead_letters(2), key=lambda row: len(row["Body"]))
    attributes = {k: v["StringValue"] for k, v in first["MessageAttributes"].items()}
    assert first["Body"] == '{"a":1}'
    assert attributes["error_code"] == "Malformed"
    assert attributes["error_detail"].startswith("data.email: ")
    assert len(attributes["error_detail"]) <= 1000
    assert attributes["original_message_id"] == sent
    assert attributes["received_at"].endswith("+00:00")
    assert second["Body"].startswith("[redacted]")
    assert queues.depth() == (0, 1), "dead-lettering deletes nothing"


@pytest.mark.parametrize(
    ("stated", "passed_on"),
    [
        pytest.param("2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z", id="a redrive"),
        pytest.param("9000-01-01T00:00:00.000Z", None, id="forged, in the future"),
        pytest.param("yesterday", None, id="not a time"),
    ],
)
def test_a_dead_letter_keeps_the_time_when_its_message_was_first_sent(
    queues: Queues, stated: str, passed_on: str | None
) -> None:
    """It passes on what a redrive stated, or its own SentTimestamp if that is earlier."""
    attributes = {"original_sent_at": {"DataType": "String", "StringValue": stated}}
    queues.sqs.send_message(QueueUrl=queues.url, MessageBody="{", MessageAttributes=attributes)
    queue = _open(queues)
    [message] = _receive(queue, 1)
    assert queue.dead_letter([DeadLetterMessage(message, DeadLetter("NotJson", "-", None))]) == {}
    [letter] = queues.dead_letters(1)
    told = letter["MessageAttributes"]["original_sent_at"]["StringValue"]
    assert told == (passed_on or time_text(message.sent_at))


def test_big_dead_letters_do_not_hinder_each_other(queues: Queues) -> None:
    """A call carries 256 KiB in total; a message of the maximum size is sent all the same."""
    queue = _open(queues)
    message = RawMessage("id", "r", "", 1, 0.0, time.time(), None)
    sizes = [150 * KIB, 150 * KIB, 10, 256 * KIB - 20, 10]
    letters = [
        DeadLetterMessage(
            replace(message, receipt=str(n), body="x" * size), DeadLetter("Malformed", "-", None)
        )
        for n, size in enumerate(sizes)
    ]
    assert queue.dead_letter(letters) == {}
    assert sorted(len(row["Body"]) for row in queues.dead_letters(5)) == sorted(sizes)


def test_a_fifo_dead_letter_keeps_its_group_and_is_not_swallowed(fifo_queues: Queues) -> None:
    """It has a new deduplication id per receive: after a redrive it can be dead-lettered again."""
    fifo_queues.send("a", group="user-1")
    queue = _open(fifo_queues)
    [message] = _receive(queue, 1)
    assert message.group_id == "user-1"
    again = replace(message, receives=2)
    for letter in (message, message, again):
        assert (
            queue.dead_letter([DeadLetterMessage(letter, DeadLetter("Malformed", "-", None))]) == {}
        )
    letters = fifo_queues.dead_letters(2)
    assert [row["Attributes"]["MessageGroupId"] for row in letters] == ["user-1"] * 2


def test_a_missing_queue_is_named(resource_names: ResourceNames, aws_endpoint: str) -> None:
    """One line and a `LookupError`."""
    names = resource_names
    queue = SqsCommandQueue(names.command_queue, names.dead_letter_queue, names.quarantine_queue)
    with pytest.raises(QueueMissingError, match=resource_names.command_queue):
        queue.receive(10, 0)


@pytest.mark.parametrize("fault", [Unavailable(), Denied(), Reset(), Junk(), HalfAnswer()])
def test_a_failed_call_is_one_line(
    fault: Any, queues: Queues, aws_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the operation and the queue, and no receipt or body."""
    with FaultyProxy(aws_endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        queue = _open(queues)
        queue.receive(10, 0)
        proxy.inject(fault)
        for call in (lambda: queue.receive(10, 0), lambda: queue.delete(["the-receipt"])):
            with pytest.raises(SqsError) as caught:
                call()
            assert queues.names.command_queue in str(caught.value)
            assert "the-receipt" not in str(caught.value)
            assert "\n" not in str(caught.value)
