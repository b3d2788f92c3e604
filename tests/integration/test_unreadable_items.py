"""Items of a later format, or damaged ones, do not affect the items around them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from adapters.aws import client as aws
from adapters.dynamodb import DynamoDBOutbox, DynamoDBUserRepository, MalformedItemError
from adapters.dynamodb.provision import provision_table
from application.outbox import OutboxPosition
from application.ports import CommandKey, JobKind, OutboxEntry
from application.repository import LoadRequest
from domain import events as e
from tests.builders import NOW, uid
from tests.persistence import (
    LATER,
    Store,
    committed,
    must_commit,
    pending,
    registered,
    renamed,
    scrub,
    session,
    shards,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True, slots=True)
class Table(Store):
    """A store whose items can be changed directly."""

    client: DynamoDBClient
    name: str

    def set(self, partition: str, sort_key: str, attribute: str, value: str) -> None:
        """Write another value; a number if the attribute is one."""
        self.client.update_item(
            TableName=self.name,
            Key={"pk": {"S": partition}, "sk": {"S": sort_key}},
            UpdateExpression="SET #a = :v",
            ConditionExpression="attribute_exists(pk)",
            ExpressionAttributeNames={"#a": attribute},
            ExpressionAttributeValues={":v": {"N" if attribute == "schema" else "S": value}},
        )


@pytest.fixture
def table(aws_endpoint: str) -> Iterator[Table]:
    """A separate table for each test."""
    assert aws_endpoint
    client, name = aws.client("dynamodb"), f"users-{uuid.uuid4().hex[:12]}"
    provision_table(client, name)
    outbox = DynamoDBOutbox(client, name, page_size=2, choose_shard=shards().__next__)
    yield Table(DynamoDBUserRepository(client, name), outbox, client, name)
    client.delete_table(TableName=name)
    client.close()


DAMAGES = [("schema", "3"), ("schema", "-1"), ("recorded_at", "yesterday"), ("code", "Tomorrows")]


@pytest.mark.parametrize(("attribute", "value"), DAMAGES)
def test_an_unreadable_outcome_differs_from_a_missing_one(
    table: Table, attribute: str, value: str
) -> None:
    """A rejection by a newer worker must not be parked as missing; the others are found."""
    (entry,) = must_commit(table, registered("ada"), registered("grace")).entries
    ada, grace = (CommandKey(uid(n), uid(f"register {n}")) for n in ("ada", "grace"))
    missing = CommandKey(uid("ada"), uid("never recorded"))
    table.set(f"USER#{ada.user_id}", f"COMMAND#{ada.command_id}", attribute, value)
    outcomes = table.outbox.outcomes([replace(entry, commands=(ada, grace, missing))])
    assert outcomes.found.keys() == {grace}
    assert outcomes.unreadable == {ada}


def _shard(table: Table, of: str, limit: int) -> tuple[list[OutboxEntry], list[OutboxPosition]]:
    """Read the shard of an entry page by page, from its beginning."""
    entries: list[OutboxEntry] = []
    unreadable: list[OutboxPosition] = []
    after: OutboxPosition | None = OutboxPosition(of, "0")
    while after is not None:
        page = table.outbox.pending(LATER, limit, after)
        assert len(page.entries) + len(page.unreadable) <= limit
        entries += page.entries
        unreadable += page.unreadable
        after = page.last
    return entries, unreadable


@pytest.mark.parametrize(
    ("attribute", "value"), [("schema", "3"), ("kind", "compact"), ("commands", "no-slash")]
)
def test_pointers_that_cannot_be_read_do_not_hide_those_behind_them(
    table: Table, attribute: str, value: str
) -> None:
    """Even if they fill more than a page: their positions are returned with the valid entries."""
    shard = "OUTBOX#0"
    bad = {OutboxPosition(shard, f"2026-11-22T10:00:00.00{n}Z#x") for n in range(5)}
    for position in bad:
        item = {
            "pk": {"S": position.partition},
            "sk": {"S": position.sort_key},
            "kind": {"S": "publish"},
            "commands": {"S": f"/{uid('c')}"},
        }
        table.client.put_item(TableName=table.name, Item={**item, "schema": {"N": "1"}})
    entries, unreadable = _shard(table, shard, 2)
    assert {(entry.partition, entry.sort_key) for entry in entries} == bad
    assert unreadable == []
    for position in bad:
        table.set(*position, attribute, value)
    behind = OutboxPosition(shard, "2026-11-22T10:00:00.009Z#x")
    healthy = {"pk": {"S": shard}, "sk": {"S": behind.sort_key}, "schema": {"N": "1"}}
    healthy |= {"kind": {"S": "publish"}, "commands": {"S": ""}}
    table.client.put_item(TableName=table.name, Item=healthy)
    entries, unreadable = _shard(table, shard, 2)
    assert [entry.sort_key for entry in entries] == [behind.sort_key]
    assert set(unreadable) == bad


def test_status_counts_what_it_cannot_read(table: Table) -> None:
    """An operator looks there for stuck entries, so it must not fail itself."""
    (entry,) = must_commit(table, registered("ada")).entries
    must_commit(table, registered("grace"))
    table.outbox.park(entry, "refused")
    (parked,) = table.outbox.status().parked
    table.set(parked.partition, parked.sort_key, "schema", "3")
    odd = {"pk": {"S": "OUTBOX#3"}, "sk": {"S": "no time"}, "schema": {"N": "1"}}
    table.client.put_item(TableName=table.name, Item=odd)
    status = table.outbox.status()
    assert (status.pending, status.oldest) == (1, NOW)
    assert (status.parked, status.unreadable) == ((), 2)


def test_a_scrub_skips_and_reports_unreadable_items(table: Table) -> None:
    """All other outcomes of the erased user are scrubbed, and the rest once it is readable."""
    ada = committed(table, "ada")
    for n in range(5):
        change = renamed(ada, command=f"command {n}")
        event = e.RecordedEvent.of(e.EmailChanged("ada@x.org", "ada@y.org"), ada.version + 1)
        decided = replace(change.outcomes[0], events=(event,))
        must_commit(table, replace(change, outcomes=(decided,), saved_sessions=(session(f"s{n}"),)))
        assert change.user is not None
        ada = change.user
    stuck = (f"USER#{ada.user_id}", f"COMMAND#{uid('command 2')}")
    table.set(*stuck, "schema", "3")
    assert scrub(table.outbox, ada.user_id) == 1
    table.set(*stuck, "schema", "1")
    kept = {o.command_id for o in table.repository.history(ada.user_id) if o.fingerprint}
    assert kept == {uid("command 2")}
    assert scrub(table.outbox, ada.user_id) == 0
    assert not any(o.fingerprint for o in table.repository.history(ada.user_id))
    assert "ada@" not in str([o.events for o in table.repository.history(ada.user_id)])


def test_an_unreadable_user_is_reported_and_the_others_are_loaded(table: Table) -> None:
    """A round continues without that user; a single read raises an error."""
    committed(table, "ada")
    grace = committed(table, "grace")
    table.set(f"USER#{uid('ada')}", "USER", "schema", "2")
    snapshot = table.repository.load(LoadRequest(users={uid("ada"), uid("grace")}))
    assert snapshot.users == {uid("grace"): grace}
    assert snapshot.unreadable == {uid("ada")}
    with pytest.raises(MalformedItemError):
        table.repository.get(uid("ada"))
    assert {entry.kind for entry in pending(table)} == {JobKind.PUBLISH}
