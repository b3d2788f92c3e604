"""Instrumentation of boto3 in another service (OpenTelemetry, X-Ray, Datadog) sees every call."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.httpsession import URLLib3Session

from adapters.dynamodb.provision import provision_table
from biome_users import (
    CommandRequest,
    LoginReader,
    OutcomeListener,
    UserCommands,
    _subscription,
    commands,
)
from tests.builders import token, uid
from tests.conftest import ResourceNames

pytestmark = pytest.mark.embedded

TIMES = 10
UNBAN = CommandRequest(command=commands.UnbanUser(), user_id=uuid.UUID(uid("ada")))
Count = Callable[[], AbstractContextManager[tuple[Counter[str], Counter[str]]]]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Count:
    """Count the calls that instrumentation sees, and the requests that are sent."""

    @contextmanager
    def counted() -> Iterator[tuple[Counter[str], Counter[str]]]:
        seen, sent = Counter[str](), Counter[str]()
        call, send = BaseClient._make_api_call, URLLib3Session.send  # type: ignore[attr-defined]

        def make_api_call(self: Any, operation_name: str, api_params: Any) -> Any:
            seen[operation_name] += 1
            return call(self, operation_name, api_params)

        def send_request(self: Any, request: Any) -> Any:
            target = request.headers.get("X-Amz-Target", b"").decode()
            sent[target.rpartition(".")[2] or "of SNS"] += 1
            return send(self, request)

        with monkeypatch.context() as patch:
            patch.setattr(BaseClient, "_make_api_call", make_api_call)
            patch.setattr(URLLib3Session, "send", send_request)
            yield seen, sent

    return counted


@pytest.fixture
def reader(aws_endpoint: str) -> Iterator[LoginReader]:
    """A reader of an empty table."""
    client, table = boto3.client("dynamodb"), f"users-{uuid.uuid4().hex[:12]}"
    provision_table(client, table)
    yield LoginReader(table)
    client.delete_table(TableName=table)


READS: dict[str, Callable[[LoginReader], object]] = {
    "get": lambda reader: reader.get(uid("ada")),
    "get_many": lambda reader: reader.get_many([uid("ada"), uid("eve")]),
    "by_email": lambda reader: reader.by_email("ada@example.com"),
    "by_refresh_token": lambda reader: reader.by_refresh_token(token("f").value, token("t").value),
    "check_session": lambda reader: reader.check_session(uid("ada"), uid("phone")),
    "check_token": lambda reader: reader.check_token(
        uid("ada"), uid("phone"), token("f").value, token("t").value
    ),
    "session_is_good": lambda reader: reader.session_is_good(uid("ada"), uid("phone")),
}


@pytest.mark.parametrize("name", READS)
def test_every_read_is_seen(reader: LoginReader, counted: Count, name: str) -> None:
    """Ten of ten: only the worker uses fast calls."""
    with counted() as (seen, sent):
        for _ in range(TIMES):
            READS[name](reader)
    assert seen.total() == sent.total() == TIMES


SENDS: dict[str, Callable[[UserCommands], object]] = {
    "send": lambda users: users.send(commands.UnbanUser(), user_id=uid("ada")),
    "send_many": lambda users: users.send_many([UNBAN] * 3),
    "asend": lambda users: asyncio.run(users.asend(commands.UnbanUser(), user_id=uid("ada"))),
    "asend_many": lambda users: asyncio.run(users.asend_many([UNBAN])),
}


@pytest.mark.parametrize("name", SENDS)
def test_every_sending_is_seen(
    aws_endpoint: str, resource_names: ResourceNames, counted: Count, name: str
) -> None:
    """Including the look-up of the queue before the first one."""
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName=resource_names.command_queue)["QueueUrl"]
    users = UserCommands(resource_names.command_queue, source="/test")
    with counted() as (seen, sent):
        for _ in range(TIMES):
            SENDS[name](users)
    assert seen == sent == {"GetQueueUrl": 1, "SendMessageBatch": TIMES}
    sqs.delete_queue(QueueUrl=url)


def test_everything_that_a_listener_calls_is_seen(
    aws_endpoint: str,
    resource_names: ResourceNames,
    counted: Count,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The start, ten answers received and deleted one by one, and the end."""
    monkeypatch.setattr(_subscription, "LONGEST_POLL", 1)
    sns = boto3.client("sns")
    topic = sns.create_topic(Name=resource_names.events_topic)["TopicArn"]
    with counted() as (seen, sent):
        with OutcomeListener(source="/test", topic=topic) as listener:
            for number in range(TIMES):
                event = {"type": "biome.user.UserBanned.v1", "causationid": uid(str(number))}
                source: Any = {"DataType": "String", "StringValue": "/test"}
                sns.publish(
                    TopicArn=topic,
                    Message=json.dumps(event),
                    MessageAttributes={"command_source": source},
                )
                listener.answer(uid(str(number)), 30)
            thread = next(t for t in threading.enumerate() if t.name == "user-outcomes")
        thread.join(30)
        assert not thread.is_alive()
    of_sns = sum(seen.pop(name) for name in ("Subscribe", "Publish", "Unsubscribe"))
    assert of_sns == sent.pop("of SNS") == TIMES + 2
    assert seen == sent
    assert seen["DeleteMessageBatch"] == TIMES
    assert seen["ReceiveMessage"] >= TIMES
    assert seen["CreateQueue"] == seen["DeleteQueue"] == 1
    sns.delete_topic(TopicArn=topic)
