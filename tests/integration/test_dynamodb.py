"""The table at a real endpoint: calls counted on the wire, and answers lost after their effect."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from adapters.aws import client as aws
from adapters.dynamodb import (
    DynamoDBOutbox,
    DynamoDBUserRepository,
    Retries,
)
from adapters.dynamodb.capacity import WRITE_UNIT, item_size
from adapters.dynamodb.mapper import render_user
from adapters.dynamodb.projection import CREDENTIALS, OF_OPERATORS, OF_READERS
from adapters.dynamodb.provision import provision_table
from adapters.errors import ItemRefusedError
from application.ports import CommandKey, StoreUnavailableError
from application.repository import LoadRequest
from tests.builders import NOW, PASSWORD, email, uid
from tests.persistence import (
    Store,
    committed,
    keys_of,
    must_commit,
    new_user,
    pending,
    registered,
    renamed,
    scrub,
    session,
    shards,
    two_factor,
)

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse
    from mypy_boto3_dynamodb import DynamoDBClient

QUICK = Retries(base=0.01, cap=0.1, tries=6)


class Wiretap:
    """Counts requests on the wire, and can lose an answer."""

    def __init__(self, client: DynamoDBClient) -> None:
        self.sent: list[str] = []
        self._client: Any = client
        self._lose: set[str] = set()
        events: Any = client.meta.events
        events.register("before-send.dynamodb", self._before_send)

    def lose_answer_to(self, operation: str) -> None:
        """Apply the next request of an operation, but lose its answer."""
        self._lose.add(operation)

    def _before_send(self, request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        target: Any = request.headers["X-Amz-Target"]
        operation = target.decode().rpartition(".")[2]
        self.sent.append(operation)
        if operation not in self._lose:
            return None
        self._lose.remove(operation)
        answer = self._client._endpoint._send(request)
        assert answer.status_code == 200
        raise ReadTimeoutError(endpoint_url=request.url)


@pytest.fixture
def client(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[DynamoDBClient]:
    """A separate client for each test, because hooks are registered on it."""
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))
    made = aws.client("dynamodb")
    yield made
    made.close()


@pytest.fixture
def table(client: DynamoDBClient) -> Iterator[str]:
    """A separate table for each test."""
    name = f"users-{uuid.uuid4().hex[:12]}"
    provision_table(client, name)
    yield name
    client.delete_table(TableName=name)


@pytest.fixture
def store(client: DynamoDBClient, table: str) -> Store:
    """Repository and outbox of the table."""
    outbox = DynamoDBOutbox(client, table, QUICK, choose_shard=shards().__next__)
    return Store(DynamoDBUserRepository(client, table, QUICK), outbox)


# --- without credentials -------------------------------------------------------------------


@pytest.mark.parametrize("attributes", [OF_READERS, OF_OPERATORS], ids=["reader", "operator"])
def test_a_reader_without_credentials_receives_none(
    client: DynamoDBClient, store: Store, table: str, attributes: tuple[str, ...]
) -> None:
    """Neither by key nor by a query; all else is read as by any reader."""
    ada = replace(new_user("ada"), password_hash=PASSWORD.value)
    change = registered("ada")
    phone = session("phone")
    ada.live_sessions = {phone.session_id: phone.expires_at}
    must_commit(
        store,
        replace(change, user=ada, saved_sessions=(phone,), saved_two_factor=two_factor()),
    )
    answers: list[Any] = []
    events: Any = client.meta.events
    events.register("after-call.dynamodb", lambda parsed, **_: answers.append(parsed))
    reader = DynamoDBUserRepository(client, table, QUICK, attributes=attributes)
    read = reader.get_by_email(email("ada"))
    assert read is not None
    assert (read.first_name, read.live_sessions) == (ada.first_name, ada.live_sessions)
    assert read.password_hash is None
    loaded = reader.load(LoadRequest(sessions={(uid("ada"), phone.session_id)}))
    assert loaded.users[uid("ada")].sessions[phone.session_id].expires_at == phone.expires_at
    (past,) = reader.history(uid("ada"))
    assert past.status == change.outcomes[0].status
    if attributes == OF_OPERATORS:
        outbox = DynamoDBOutbox(client, table, QUICK, attributes=attributes)
        entries = [entry for page in outbox.pages() for entry in page.entries]
        assert outbox.outcomes(entries).found == dict.fromkeys(keys_of(change), past)
    text = json.dumps(answers, default=str)
    assert PASSWORD.value not in text
    assert not any(f'"{name}"' in text for name in CREDENTIALS)


# --- counting ------------------------------------------------------------------------------


def test_a_batch_of_ten_is_three_calls(client: DynamoDBClient, store: Store) -> None:
    """One loads ten users and their outcomes, one commits, one closes the entry."""
    names = [f"user{n}" for n in range(10)]
    must_commit(store, *(registered(name) for name in names))
    tap = Wiretap(client)
    users = {uid(name) for name in names}
    outcomes = {CommandKey(user, uid(f"rename {user}")) for user in users}
    snapshot = store.repository.load(LoadRequest(users=users, outcomes=outcomes))
    assert tap.sent == ["BatchGetItem"]
    report = must_commit(store, *(renamed(user) for user in snapshot.users.values()))
    assert tap.sent == ["BatchGetItem", "TransactWriteItems"]
    store.outbox.close(report.entries)
    assert tap.sent == ["BatchGetItem", "TransactWriteItems", "DeleteItem"]


@pytest.mark.localstack
@pytest.mark.parametrize("kilobytes", [1, 2])
def test_an_items_size_is_what_dynamodb_bills(
    client: DynamoDBClient, table: str, kilobytes: int
) -> None:
    """To the byte: at a limit an item costs so many units, and one byte more costs one more.

    By single writes: for transactions DynamoDB Local reports less than AWS documents.
    """
    item = render_user(new_user("ada"))
    missing = kilobytes * WRITE_UNIT - item_size(item)
    for more in (0, 1):
        item["first_name"] = {"S": "A" * (missing + len("Ada") + more)}
        assert item_size(item) == kilobytes * WRITE_UNIT + more
        answer = client.put_item(TableName=table, Item=item, ReturnConsumedCapacity="TOTAL")
        assert answer["ConsumedCapacity"].get("CapacityUnits") == kilobytes + more


# --- lost answers --------------------------------------------------------------------------


def test_a_commit_whose_answer_was_lost_is_a_success_once(
    client: DynamoDBClient, store: Store
) -> None:
    """The second attempt has the same token: it is no duplicate, and has no further effect."""
    ada = committed(store, "ada")
    tap = Wiretap(client)
    tap.lose_answer_to("TransactWriteItems")
    change = replace(renamed(ada), saved_sessions=(session("phone"),))
    report = must_commit(store, change, registered("grace"))
    assert tap.sent == ["TransactWriteItems", "TransactWriteItems"]
    assert len(report.entries) == 1
    assert report.entries[0] in pending(store)
    assert len(pending(store)) == 2
    stored = store.repository.get(uid("ada"))
    assert stored is not None
    assert stored.version == 2


@pytest.mark.parametrize("several", [False, True])
def test_a_close_whose_answer_was_lost_is_done(
    client: DynamoDBClient, store: Store, several: bool
) -> None:
    """Deleting twice has no effect."""
    entries = [*must_commit(store, registered("ada")).entries]
    if several:
        entries += must_commit(store, registered("grace")).entries
    tap = Wiretap(client)
    tap.lose_answer_to("BatchWriteItem" if several else "DeleteItem")
    store.outbox.close(entries)
    assert len(tap.sent) == 2
    assert pending(store) == []


def test_a_park_whose_answer_was_lost_is_done(client: DynamoDBClient, store: Store) -> None:
    """The entry is parked once, and no longer pending."""
    (entry,) = must_commit(store, registered("ada")).entries
    tap = Wiretap(client)
    tap.lose_answer_to("TransactWriteItems")
    store.outbox.park(entry, "refused")
    assert len(tap.sent) == 2
    assert pending(store) == []
    assert len(store.outbox.status().parked) == 1


def test_a_scrub_that_was_broken_off_is_finished_by_the_next(
    client: DynamoDBClient, table: str, store: Store
) -> None:
    """Wherever it was interrupted, across pages."""
    must_commit(store, registered("ada"))
    for _ in range(5):
        ada = store.repository.get(uid("ada"))
        assert ada is not None
        must_commit(store, replace(renamed(ada), saved_sessions=(session(f"s{ada.version}"),)))
    outbox = DynamoDBOutbox(client, table, QUICK, page_size=2)
    events: Any = client.meta.events
    countdown = iter(range(5))

    def fail(**_: object) -> None:
        if next(countdown, None) is None:
            raise ConnectionResetError(104, "reset")

    events.register("before-send.dynamodb", fail)
    with pytest.raises(StoreUnavailableError):
        scrub(outbox, uid("ada"))
    events.unregister("before-send.dynamodb", fail)
    half = [decided.fingerprint for decided in store.repository.history(uid("ada"))]
    assert any(half)
    scrub(outbox, uid("ada"))
    assert not any(o.fingerprint for o in store.repository.history(uid("ada")))
    found = store.repository.load(
        LoadRequest(sessions={(uid("ada"), uid(f"session s{n}")) for n in range(1, 6)})
    )
    assert found.users[uid("ada")].sessions == {}


# --- refusals ------------------------------------------------------------------------------


def test_an_item_that_is_too_large_is_refused_alone(store: Store) -> None:
    """The other changes of its batch are committed; a retry would fail too."""
    huge = registered("huge")
    assert huge.user is not None
    huge = replace(huge, user=replace(huge.user, first_name="x" * 500_000))
    report = store.repository.commit([registered("ada"), huge, registered("grace")], NOW)
    assert report.failures.keys() == {1}
    assert isinstance(report.failures[1], ItemRefusedError)
    assert store.repository.get_many([uid("ada"), uid("grace")]).keys() == {
        uid("ada"),
        uid("grace"),
    }


def test_a_table_that_is_missing_is_an_outage(client: DynamoDBClient) -> None:
    """It may be created later: no command is lost."""
    repository = DynamoDBUserRepository(client, f"missing-{uuid.uuid4().hex}", QUICK)
    report = repository.commit([registered("ada")], NOW)
    assert isinstance(report.failures[0], StoreUnavailableError)
    assert isinstance(report.failures[0].__cause__, ClientError)
    with pytest.raises(StoreUnavailableError):
        repository.get(uid("ada"))


# --- what is stored ------------------------------------------------------------------------


def test_an_outcome_and_its_reference_expire_together(client: DynamoDBClient, table: str) -> None:
    """TTL reads one attribute, in epoch seconds."""
    change = registered("ada")
    decided = replace(change.outcomes[0], by_email=True)
    repository = DynamoDBUserRepository(client, table, QUICK)
    assert not repository.commit([replace(change, outcomes=(decided,))], NOW).failures
    sort = f"COMMAND#{decided.command_id}"
    keys: list[Any] = [
        {"pk": {"S": partition}, "sk": {"S": sort}} for partition in (f"USER#{uid('ada')}", sort)
    ]
    items = [client.get_item(TableName=table, Key=key)["Item"] for key in keys]
    ends = {item["expires_at"].get("N") for item in items}
    assert ends == {str(int(decided.expires_at.timestamp()))}
    assert "events" in items[0]
    assert "events" not in items[1]


def test_the_index_holds_keys_only_and_only_of_sessions(
    client: DynamoDBClient, table: str, store: Store
) -> None:
    """It is sparse: an item without a refresh token is not in it."""
    ada = committed(store, "ada")
    must_commit(store, replace(renamed(ada), saved_sessions=(session("phone"),)))
    answer = client.query(
        TableName=table,
        IndexName="RefreshTokenIndex",
        KeyConditionExpression="refresh_family_hash = :h",
        ExpressionAttributeValues={":h": {"S": session("phone").refresh_family_hash}},
    )
    (item,) = answer["Items"]
    assert item.keys() == {"pk", "sk", "refresh_family_hash"}
