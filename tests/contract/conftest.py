"""Every store that keeps the ports of persistence."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from moto import mock_aws

from adapters import aws
from adapters.dynamodb import Backoff, DynamoDBOutbox, DynamoDBUserRepository
from adapters.dynamodb.provision import provision_table
from adapters.memory import MemoryOutbox, MemoryStore, MemoryUserRepository
from tests.persistence import Store, shards

QUICK = Backoff(base=0.005, cap=0.1, tries=8)


@pytest.fixture
def memory() -> Store:
    """A store in memory."""
    kept = MemoryStore()
    return Store(MemoryUserRepository(kept), MemoryOutbox(kept, shards().__next__))


def dynamodb_store() -> Iterator[Store]:
    """Make a table of its own for a test."""
    client = aws.client("dynamodb")
    table = f"users-{uuid.uuid4().hex[:12]}"
    provision_table(client, table)
    outbox = DynamoDBOutbox(client, table, QUICK, page_size=3, choose_shard=shards().__next__)
    yield Store(DynamoDBUserRepository(client, table, QUICK), outbox)
    client.delete_table(TableName=table)
    client.close()


@pytest.fixture
def moto() -> Iterator[Store]:
    """A table in moto, in this process."""
    with mock_aws():
        yield from dynamodb_store()


@pytest.fixture
def on_aws(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A table at the endpoint: the embedded AWS, or LocalStack."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws_endpoint)  # for those who ask for it by a parameter
    yield from dynamodb_store()


REAL = pytest.param("on_aws", marks=pytest.mark.aws)


@pytest.fixture(params=["memory", "moto", REAL])
def store(request: pytest.FixtureRequest) -> Store:
    """Each store in turn."""
    found: Store = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["memory", REAL])
def concurrent_store(request: pytest.FixtureRequest) -> Store:
    """Each store that can be used by several threads: moto's transactions are not isolated."""
    found: Store = request.getfixturevalue(request.param)
    return found
