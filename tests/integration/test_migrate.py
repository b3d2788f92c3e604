"""A migration on a table as AWS keeps it: segments, conditions, the index."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from adapters.aws import client as aws
from adapters.dynamodb import DynamoDBOutbox, DynamoDBUserRepository, Retries
from adapters.dynamodb.provision import provision_table
from operations.migration.counts import Counts
from operations.migration.metered import MeteredTable
from operations.migration.pages import PageMigration
from operations.migration.scan import Migration, Progress
from operations.migration.throughput import Bucket
from tests.builders import uid
from tests.persistence import Store, must_commit, registered, session
from tests.unit.operations.migrate_world import NEXT, address_item, check, damaged_items, old_table


@pytest.fixture(scope="module")
def client(aws_endpoint: str) -> Iterator[Any]:
    """A client, for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", aws_endpoint)
        made = aws.client("dynamodb")
    yield made
    made.close()


@pytest.fixture
def name(client: Any) -> Iterator[str]:
    """A table of its own for each test."""
    made = f"users-{uuid.uuid4().hex[:12]}"
    provision_table(client, made)
    yield made
    client.delete_table(TableName=made)


class Copy:
    """The stored items, in the form in which the unit tests check them."""

    def __init__(self, client: Any, name: str) -> None:
        items = client.scan(TableName=name, ConsistentRead=True)["Items"]
        self.items = {(item["pk"]["S"], item["sk"]["S"]): item for item in items}


def migrate(client: Any, name: str, segments: int, writes: Bucket | None = None) -> Counts:
    """Migrate to the made-up next formats, with pages of three items."""
    metered = MeteredTable(client, name, Bucket(1e6), writes or Bucket(1e6), Retries(tries=10))
    progress = Progress.start(segments)
    pages = PageMigration(metered, NEXT)
    Migration(metered, pages, progress, threading.Event(), 3).run(lambda _: None)
    assert progress.done == segments
    return progress.counts


def test_old_items_are_migrated_by_segments_at_the_same_time(client: Any, name: str) -> None:
    """As in memory; a token is then found by the index, and consumed units are counted."""
    for item in old_table().items.values():
        client.put_item(TableName=name, Item=item)
    writes = Bucket(1e6)
    counts = migrate(client, name, 3, writes)
    stored: Any = Copy(client, name)
    check(stored, damaged_items(), frozenset({uid("alan")}))
    assert (counts.changed, counts.indexed, counts.reserved, counts.released) == (5, 1, 2, 3)
    assert (counts.bad, counts.taken) == (4, 1)
    assert writes.spent >= 5 + 2 * 2 * 5  # puts, and transactions of two items at twice the price
    found = client.query(
        TableName=name,
        IndexName="RefreshTokenIndex",
        KeyConditionExpression="refresh_family_hash = :h",
        ExpressionAttributeValues={":h": {"S": session("phone").refresh_family_hash}},
    )
    assert [item["pk"]["S"] for item in found["Items"]] == [f"USER#{uid('ada')}"]
    again = migrate(client, name, 2)
    assert (again.changed, again.reserved, again.released) == (0, 0, 0)


def test_workers_commit_while_a_migration_runs(client: Any, name: str) -> None:
    """Neither loses writes of the other: versions and names are the committed ones."""
    store = Store(DynamoDBUserRepository(client, name), DynamoDBOutbox(client, name))
    names = [f"user-{n}" for n in range(12)]
    must_commit(store, *(registered(each) for each in names))
    versions = dict.fromkeys(names, 1)
    ended = threading.Event()

    def work() -> None:
        """Rename users in the older format, until the migration is over."""
        while not ended.is_set():
            for each in names:
                key = {"pk": {"S": f"USER#{uid(each)}"}, "sk": {"S": "USER"}}
                client.update_item(
                    TableName=name,
                    Key=key,
                    UpdateExpression="SET first_name = :n, version = :v",
                    ExpressionAttributeValues={
                        ":n": {"S": f"name-{versions[each] + 1}"},
                        ":v": {"N": str(versions[each] + 1)},
                    },
                )
                versions[each] += 1

    worker = threading.Thread(target=work)
    worker.start()
    try:
        counts = migrate(client, name, 2)
    finally:
        ended.set()
        worker.join()
    assert counts.left == 0
    stored = Copy(client, name).items
    for each in names:
        item = stored[f"USER#{uid(each)}", "USER"]
        assert item["schema"] == {"N": "2"}
        assert item["version"] == {"N": str(versions[each])}
        assert versions[each] == 1 or item["first_name"] == {"S": f"name-{versions[each]}"}


def test_an_item_that_the_table_refuses_is_left_and_reported(client: Any, name: str) -> None:
    """One that grows over 400 KB, say; the others are migrated."""
    store = Store(DynamoDBUserRepository(client, name), DynamoDBOutbox(client, name))
    must_commit(store, registered("ada"), registered("grace"))
    client.put_item(TableName=name, Item=address_item("orphan", "nobody"))

    def grow(item: Any) -> Any:
        return {**item, "notes": {"S": "x" * 410 * 1024}} if item["user_id"]["S"] == ada else item

    user, ada = NEXT["user"], uid("ada")
    grown = replace(user.item_format, upcasts={1: grow})
    metered = MeteredTable(client, name, Bucket(1e6), Bucket(1e6), Retries(tries=3))
    progress = Progress.start(1)
    pages = PageMigration(metered, {**NEXT, "user": replace(user, item_format=grown)})
    Migration(metered, pages, progress, threading.Event()).run(lambda _: None)
    counts = progress.counts
    assert (counts.changed, counts.bad, counts.released) == (1, 1, 1)
    assert [finding.key for finding in counts.findings] == [f"USER#{uid('ada')}/USER"]
