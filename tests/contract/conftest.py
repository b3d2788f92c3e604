"""Every store that implements the persistence ports."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from moto import mock_aws

from adapters.aws import client as aws
from adapters.dynamodb import DynamoDBOutbox, DynamoDBUserRepository, Retries
from adapters.dynamodb.provision import provision_table
from adapters.memory import MemoryOutbox, MemoryStore, MemoryUserRepository
from tests.persistence import Store, shards
from tests.reliability.in_process_dynamodb import InProcessDynamoDB

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

QUICK = Retries(base=0.005, cap=0.1, tries=8)


@pytest.fixture
def memory() -> Store:
    """A store in memory."""
    kept = MemoryStore()
    return Store(MemoryUserRepository(kept), MemoryOutbox(kept, shards().__next__, 3))


@pytest.fixture(scope="session")
def moto_client() -> Iterator[DynamoDBClient]:
    """A client that moto answers while it mocks AWS; creating one takes half a second."""
    client = aws.client("dynamodb")
    yield client
    client.close()


@pytest.fixture(scope="session")
def aws_client(aws_endpoint: str) -> Iterator[DynamoDBClient]:
    """A client of the endpoint: the embedded AWS, or LocalStack."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", aws_endpoint)
        client = aws.client("dynamodb")
    yield client
    client.close()


def dynamodb_store(client: DynamoDBClient) -> Iterator[Store]:
    """Create a separate table for a test."""
    table = f"users-{uuid.uuid4().hex[:12]}"
    provision_table(client, table)
    outbox = DynamoDBOutbox(client, table, QUICK, page_size=3, choose_shard=shards().__next__)
    yield Store(DynamoDBUserRepository(client, table, QUICK), outbox)
    client.delete_table(TableName=table)


@pytest.fixture
def moto(moto_client: DynamoDBClient) -> Iterator[Store]:
    """A table in moto, in this process."""
    with mock_aws():
        yield from dynamodb_store(moto_client)


@pytest.fixture
def in_process() -> Store:
    """The DynamoDB of the crash tests, which must pass the same suite."""
    client: Any = InProcessDynamoDB()
    outbox = DynamoDBOutbox(client, "users", QUICK, page_size=3, choose_shard=shards().__next__)
    return Store(DynamoDBUserRepository(client, "users", QUICK), outbox)


@pytest.fixture
def on_aws(aws_client: DynamoDBClient) -> Iterator[Store]:
    """A table at the endpoint."""
    yield from dynamodb_store(aws_client)


REAL = pytest.param("on_aws", marks=pytest.mark.aws)


@pytest.fixture(params=["memory", "in_process", "moto", REAL])
def store(request: pytest.FixtureRequest) -> Store:
    """Each store in turn."""
    found: Store = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["memory", REAL])
def concurrent_store(request: pytest.FixtureRequest) -> Store:
    """Each store that can be used by several threads: moto's transactions are not isolated."""
    found: Store = request.getfixturevalue(request.param)
    return found
