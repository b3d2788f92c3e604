"""Differences between the emulators and AWS's documentation, each by name and actual behaviour.

A difference that a new version removes fails here, so that its workaround can be removed. The
worker relies on none of them: it keeps every limit by itself.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from tests.conftest import GIVEN_ENDPOINT

TAKEN = "taken"
KIB = 1024


@dataclass(frozen=True, slots=True)
class Account:
    """Clients, and a queue, a topic and a table for the checks."""

    sqs: Any
    sns: Any
    dynamodb: Any
    queue: str
    topic: str
    table: str

    @classmethod
    def make(cls) -> Account:
        """Create everything under a unique name."""
        session: Any = boto3.Session()
        sqs, sns, dynamodb = (session.client(name) for name in ("sqs", "sns", "dynamodb"))
        name = f"difference-{uuid.uuid4().hex[:12]}"
        dynamodb.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        queue = sqs.create_queue(QueueName=name)["QueueUrl"]
        return cls(sqs, sns, dynamodb, queue, sns.create_topic(Name=name)["TopicArn"], name)

    def remove(self) -> None:
        """Delete everything."""
        self.sqs.delete_queue(QueueUrl=self.queue)
        self.sns.delete_topic(TopicArn=self.topic)
        self.dynamodb.delete_table(TableName=self.table)
        for client in (self.sqs, self.sns, self.dynamodb):
            client.close()

    def put(self, key: str, **attributes: Any) -> dict[str, Any]:
        """Return the action that puts an item."""
        return {"Put": {"TableName": self.table, "Item": {"pk": {"S": key}, **attributes}}}


def _body_with_nul(account: Account) -> None:
    account.sqs.send_message(QueueUrl=account.queue, MessageBody="a\0b")


def _no_entries(account: Account) -> None:
    account.sqs.delete_message_batch(QueueUrl=account.queue, Entries=[])


def _eleven_entries(account: Account) -> None:
    entries = [{"Id": f"e{n}", "ReceiptHandle": f"r{n}"} for n in range(11)]
    account.sqs.delete_message_batch(QueueUrl=account.queue, Entries=entries)


def _too_long_a_batch(account: Account) -> None:
    entries = [{"Id": str(n), "Message": "x" * 200 * KIB} for n in range(2)]
    account.sns.publish_batch(TopicArn=account.topic, PublishBatchRequestEntries=entries)


def _five_megabytes(account: Account) -> None:
    items = [account.put(str(n), text={"S": "x" * 390 * KIB}) for n in range(13)]
    account.dynamodb.transact_write_items(TransactItems=items)


def _forty_digits(account: Account) -> None:
    account.dynamodb.transact_write_items(TransactItems=[account.put("a", n={"N": "1" * 40})])


def _a_redrive(account: Account) -> None:
    asked = account.sqs.get_queue_attributes(QueueUrl=account.queue, AttributeNames=["QueueArn"])
    account.sqs.start_message_move_task(SourceArn=asked["Attributes"]["QueueArn"])


@dataclass(frozen=True, slots=True)
class Difference:
    """A request, the documented answer, and the answer of each emulator."""

    ask: Callable[[Account], None]
    documented: str
    moto: str
    embedded: str
    localstack: str


_SQS = "AWS.SimpleQueueService."
DIFFERENCES = {
    "moto takes a body with a character that SQS refuses": Difference(
        _body_with_nul, "InvalidMessageContents", TAKEN, *["InvalidMessageContents"] * 2
    ),
    "the embedded AWS takes a batch of no entries": Difference(
        _no_entries, f"{_SQS}EmptyBatchRequest", f"{_SQS}EmptyBatchRequest", TAKEN,
        f"{_SQS}EmptyBatchRequest",
    ),
    "only LocalStack refuses a batch of eleven entries": Difference(
        _eleven_entries, f"{_SQS}TooManyEntriesInBatchRequest",
        TAKEN, TAKEN, f"{_SQS}TooManyEntriesInBatchRequest",
    ),
    "only LocalStack refuses a publication of more than 256 KiB": Difference(
        _too_long_a_batch, "BatchRequestTooLong", TAKEN, TAKEN, "BatchRequestTooLong"
    ),
    "moto takes a transaction of more than 4 MB": Difference(
        _five_megabytes, "ValidationException", TAKEN, *["ValidationException"] * 2
    ),
    "moto takes a number of more than 38 digits": Difference(
        _forty_digits, "ValidationException", TAKEN, *["ValidationException"] * 2
    ),
    "neither moto nor the embedded AWS knows StartMessageMoveTask": Difference(
        _a_redrive, "InvalidParameterValue", "NotImplementedError", "InvalidAction",
        "InvalidParameterValue",  # since nothing names the queue as its dead-letter queue
    ),
}  # fmt: skip


def answer(difference: Difference, account: Account) -> str:
    """Make the request; return the error code, or that it was accepted."""
    try:
        difference.ask(account)
    except ClientError as error:
        return error.response["Error"]["Code"]
    except NotImplementedError as error:
        return type(error).__name__
    return TAKEN


@pytest.fixture(scope="module")
def in_moto() -> Iterator[Account]:
    """An account in moto, in this process."""
    with mock_aws():
        account = Account.make()
        yield account
        account.remove()


@pytest.fixture
def at_endpoint(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """An account of the embedded AWS, or of LocalStack."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws_endpoint)
    account = Account.make()
    yield account
    with suppress(ClientError):
        account.remove()


@pytest.mark.parametrize("name", DIFFERENCES)
def test_moto_differs_where_this_table_says(name: str, in_moto: Account) -> None:
    """It differs in nothing else in the table."""
    difference = DIFFERENCES[name]
    assert answer(difference, in_moto) == difference.moto


@pytest.mark.parametrize("name", DIFFERENCES)
def test_the_endpoint_differs_where_this_table_says(name: str, at_endpoint: Account) -> None:
    """The embedded AWS or LocalStack, whichever the tests run on."""
    difference = DIFFERENCES[name]
    expected = difference.embedded if GIVEN_ENDPOINT is None else difference.localstack
    assert answer(difference, at_endpoint) == expected


def test_localstack_is_as_documented_in_all_of_these() -> None:
    """That is why the AWS tests also run on it."""
    assert all(each.localstack == each.documented for each in DIFFERENCES.values())
