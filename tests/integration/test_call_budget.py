"""Cost of a full batch: the AWS calls on the wire, and write units by DynamoDB's rules."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

import pytest

from adapters.aws import client as aws
from adapters.aws.fast_calls import use_fast_calls
from adapters.dynamodb import table
from adapters.dynamodb.capacity import WRITE_UNIT, item_size, transaction_units, write_units
from adapters.sqs.command_queue import SqsCommandQueue, make_client
from application.disposition import Ack, ReceivedMessage
from application.repository import Status
from domain import commands as c
from tests.builders import register, rotation, start_session, token
from tests.e2e.proxy import FaultyProxy
from tests.e2e.system import Message, System, message
from tests.e2e.worker_process import eventually
from worker import bootstrap
from worker.settings import load_settings


@dataclass(slots=True)
class Meter:
    """Counts the calls of the attached clients, and keeps what they write."""

    calls: Counter[str] = field(default_factory=Counter)
    transactions: list[list[dict[str, Any]]] = field(default_factory=list)
    signed_by_botocore: int = 0

    def attach(self, client: Any) -> Any:
        """Count a client's calls from now on; return the client."""
        events: Any = client.meta.events
        events.register("before-send", self._sending, unique_id="meter")  # once, however often
        events.register("before-sign", self._signing, unique_id="signing")
        return client

    def _signing(self, **_: Any) -> None:
        self.signed_by_botocore += 1

    def _sending(self, request: Any, **_: Any) -> None:
        target = request.headers.get("X-Amz-Target")
        if target is None:  # SNS: a form
            body = request.body.encode() if isinstance(request.body, str) else request.body
            operation = dict(parse_qsl(body.decode()))["Action"]
        else:
            operation = target.decode().rpartition(".")[2]
        self.calls[operation] += 1
        if operation == "TransactWriteItems":
            self.transactions.append(json.loads(request.body)["TransactItems"])

    def clear(self) -> None:
        """Start again from zero."""
        self.calls.clear()
        self.transactions.clear()
        self.signed_by_botocore = 0


@dataclass(frozen=True, slots=True)
class Bench:
    """A batch handler and a queue like a worker's, with metered clients."""

    system: System
    meter: Meter
    queue: SqsCommandQueue
    handle: Callable[[Sequence[ReceivedMessage]], Any]

    def run(self, messages: Sequence[Message]) -> Counter[str]:
        """Receive, handle and delete ten messages as one batch; return the calls made."""
        self.system.send(*messages)
        self.meter.clear()
        received = self.queue.receive(10, 5)
        assert len(received) == len(messages)
        settlements = self.handle(
            [
                ReceivedMessage(
                    message_id=one.message_id,
                    body=one.body,
                    receives=one.receives,
                    sent_at=one.sent_at,
                    group_id=None,
                    fifo=False,
                )
                for one in received
            ]
        )
        assert settlements.items == (Ack(),) * len(messages)
        assert self.queue.delete([one.receipt for one in received]) == {}
        calls = self.meter.calls.copy()
        assert {o.status for o in self.system.outcomes(messages)} == {Status.ACCEPTED}
        return calls

    def units_a_command(self, commands: int) -> float:
        """Return the write units of the transactions so far, with the deletion of their entries."""
        units = 0
        for actions in self.meter.transactions:
            items = [action["Put"]["Item"] for action in actions]
            assert all(item_size(item) <= WRITE_UNIT for item in items)
            units += transaction_units(item_size(item) for item in items)
            units += sum(_index_units(item) for item in items)
            units += write_units(item_size(items[-1]))
        return units / commands


def _index_units(item: dict[str, Any]) -> int:
    """Return the units of a new session's index entry, which never changes."""
    if table.REFRESH_FAMILY_HASH not in item or item["revision"] != {"N": "1"}:
        return 0
    return write_units(item_size({"pk": item["pk"], "sk": item["sk"]}))


@pytest.fixture
def system(aws_endpoint: str, tmp_path: Path) -> Iterator[System]:
    """A separate system for this test."""
    system = System.create(aws_endpoint, tmp_path)
    yield system
    system.delete()


@pytest.fixture
def bench(system: System, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench that has made its first calls: names are looked up, connections are open."""
    meter = Meter()
    real = aws.client
    monkeypatch.setattr(aws, "client", lambda *a, **k: meter.attach(real(*a, **k)))
    names = system.names
    settings = load_settings(
        env="test",
        table=names.table,
        events_topic=names.events_topic,
        personal_topic=names.personal_topic,
    )

    def fast_client(wait_seconds: int) -> Any:
        client = meter.attach(make_client(wait_seconds))
        use_fast_calls(client)
        return client

    queue = SqsCommandQueue(
        names.command_queue, names.dead_letter_queue, names.quarantine_queue, fast_client
    )
    bench = Bench(system, meter, queue, bootstrap.build(settings).batch.handle)
    bench.run(registrations(1)[1])
    return bench


def registrations(count: int) -> tuple[list[str], list[Message]]:
    """Return registrations of new users."""
    users = [str(uuid4()) for _ in range(count)]
    return users, [message(register(user), user) for user in users]


SIX_CALLS = {
    "ReceiveMessage": 1,
    "BatchGetItem": 1,
    "TransactWriteItems": 1,
    "PublishBatch": 1,
    "DeleteItem": 1,
    "DeleteMessageBatch": 1,
}
WITH_ADDRESSES = SIX_CALLS | {"PublishBatch": 2}
"""The calls of ten commands whose events have e-mail addresses: one more, to the personal topic."""
AT_START = {
    "GetQueueAttributes": 4,  # of the three queues, and where the topics are
    "GetTopicAttributes": 2,
    "DescribeTable": 1,
    "DescribeTimeToLive": 1,
}
"""Before it is ready, a worker checks once that the resources match the settings."""


def test_ten_commands_for_ten_users_make_six_calls(bench: Bench) -> None:
    """Receive, get, transact, publish, delete the entry, delete the messages: 0.6 per command.

    Events with e-mail addresses are published a second time, on the personal topic.
    """
    users, signing_up = registrations(10)
    assert bench.run(signing_up) == WITH_ADDRESSES
    assert bench.units_a_command(10) == pytest.approx(6.3)  # user, address, outcome

    assert bench.run([message(c.UpdateProfile("Grace"), user) for user in users]) == SIX_CALLS
    assert bench.units_a_command(10) == pytest.approx(4.3)  # user, outcome


def test_only_the_first_batchs_calls_are_botocores(bench: Bench) -> None:
    """`adapters.aws.fast_calls` can read the service's answers."""
    _, signing_up = registrations(10)
    assert bench.run(signing_up) == WITH_ADDRESSES
    assert bench.meter.signed_by_botocore == 0


def test_ten_rotations_make_six_calls_and_6_3_write_units_each(bench: Bench) -> None:
    """User, session and outcome; a login also writes an entry of the index."""
    users, signing_up = registrations(10)
    sessions = [str(uuid4()) for _ in users]
    expiry = datetime.now(UTC) + timedelta(days=30)
    bench.run(signing_up)
    for old, new in (("", "a"), ("a", "b"), ("b", "c"), ("c", "d")):
        commands = [
            rotation(id_, token(old + id_), token(new + id_), expiry)
            if old
            else start_session(id_, token(new + id_), expiry)
            for id_ in sessions
        ]
        calls = bench.run([message(x, user) for x, user in zip(commands, users, strict=True)])
        assert calls == SIX_CALLS
        expected = 6.3 if old else 7.3
        assert bench.units_a_command(10) == pytest.approx(expected)


def test_a_worker_makes_no_other_calls(system: System) -> None:
    """A whole process, counted at a proxy: six calls, besides its start-up check and its polls."""
    _, messages = registrations(10)
    system.send(*messages)
    quiet = {"CREATE_RESOURCES": "false", "RELAY_INTERVAL": "300"}
    with (
        FaultyProxy(system.endpoint) as proxy,
        system.worker(endpoint=proxy.url, **quiet) as worker,
    ):
        worker.ready()
        system.outcomes(messages)
        eventually(system.queues.empty)
        others = {"ReceiveMessage", "GetQueueUrl", "ListTopics"}
        assert {name: count for name, count in proxy.calls.items() if name not in others} == {
            name: count for name, count in (WITH_ADDRESSES | AT_START).items() if name not in others
        }
