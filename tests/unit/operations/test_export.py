from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.dynamodb import DynamoDBOutbox, DynamoDBUserRepository
from adapters.dynamodb.reads import TableReads
from adapters.dynamodb.repository import DEFAULT_RETRIES
from application.repository import UserChange
from cli.commands.export import _write
from operations.user_export import SET, export_of, plain, stored_items, without_secrets
from tests.builders import NOW, PASSWORD, email, token, uid
from tests.persistence import (
    BANNED,
    Store,
    committed,
    erased,
    load_user,
    must_commit,
    outcome,
    pending,
    registered,
    renamed,
    scrub,
    session,
    shards,
    two_factor,
)
from tests.reliability.in_process_dynamodb import InProcessDynamoDB
from worker.errors import CliError, UsageError

PAGE = 2
KINDS = (
    "user",
    "address",
    "two_factor",
    "banned_address",
    "sessions",
    "outcomes",
    "by_email",
    "outbox",
    "other",
)


class Paging(InProcessDynamoDB):
    """Returns two items per page, as DynamoDB returns at most one megabyte."""

    def query(self, **parameters: Any) -> dict[str, Any]:
        """Read a page."""
        return super().query(**{"Limit": PAGE, **parameters})


@pytest.fixture
def table() -> Paging:
    """An empty table."""
    return Paging()


@pytest.fixture
def store(table: Paging) -> Store:
    """The adapters that write to the table."""
    client: Any = table
    outbox = DynamoDBOutbox(client, "users", choose_shard=shards().__next__)
    return Store(DynamoDBUserRepository(client, "users"), outbox)


def export(table: Paging, name: str = "ada") -> dict[str, Any]:
    """Export a user."""
    client: Any = table
    reads = TableReads(client, "users", DEFAULT_RETRIES)
    return export_of(uid(name), stored_items(reads, uid(name)), NOW)


def exported_items(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield all items of an export."""
    for kind in KINDS:
        found = document[kind]
        yield from found if isinstance(found, list) else [found] if found else []


def live(store: Store) -> None:
    """Apply commands of Ada and Grace that leave an item of every kind."""
    must_commit(store, registered("ada"), registered("grace"))  # one pointer names both
    for number in range(1, 6):
        must_commit(store, renamed(load_user(store, "ada"), f"Ada {number}"))
    ada = load_user(store, "ada")
    saved = tuple(session(name, used=2) for name in ("phone", "tablet", "watch"))
    must_commit(store, replace(renamed(ada), saved_sessions=saved, saved_two_factor=two_factor()))
    reset = outcome("reset", "ada", by_email=True, version=7)
    must_commit(store, UserChange(uid("ada"), (reset,)))
    must_commit(store, UserChange(uid("grace"), (outcome("her reset", "grace", by_email=True),)))
    must_commit(store, UserChange(None, (outcome("nobody's reset", None, by_email=True),)))
    hers = [p for p in pending(store) if any(key.user_id == uid("ada") for key in p.commands)]
    store.outbox.park(hers[0], "test")


def test_all_that_names_a_person_is_in_their_export(table: Paging, store: Store) -> None:
    """Every item of the table with their id or address in its key or content is included."""
    live(store)
    document = export(table)
    naming = {
        key
        for key, item in table.items.items()
        if uid("ada") in json.dumps(item) or email("ada").key in json.dumps(item)
    }
    keys = [(item["pk"], item["sk"]) for item in exported_items(document)]
    assert sorted(keys) == sorted(naming)
    assert document["items"] == len(naming)
    counts = {kind: len(document[kind]) for kind in KINDS if isinstance(document[kind], list)}
    assert counts["sessions"] == 3
    assert counts["outcomes"] == 8
    assert counts["by_email"] == 1
    assert counts["outbox"] >= 2
    assert any(item["pk"] == "OUTBOX#PARKED" for item in document["outbox"])


def test_the_export_contains_the_ban_of_an_erased_user(table: Paging, store: Store) -> None:
    """The ban of the address, and the address until it is released; the hash is not shown."""
    must_commit(store, erased(committed(store, "ada"), BANNED))
    keys = [(item["pk"], item["sk"]) for item in exported_items(export(table))]
    naming = [key for key, item in table.items.items() if uid("ada") in json.dumps(item)]
    assert sorted(keys) == sorted(naming)
    document = export(table)
    assert document["user"]["ban"]["address_hash"] == SET
    assert document["address"]["held"] is True
    store.outbox.release(uid("ada"), email("ada").key)
    document = export(table)
    assert document["address"] is None
    assert document["banned_address"]["user_id"] == uid("ada")


def test_every_attribute_is_in_it_with_its_value_or_set(table: Paging, store: Store) -> None:
    """Only secrets, parsed events and other users' commands differ from the stored items."""
    live(store)
    for item in exported_items(export(table)):
        raw = plain(table.items[item["pk"], item["sk"]])
        assert item.keys() == raw.keys()
        for name, value in raw.items():
            if name not in {"events", "commands"}:
                assert item[name] in (value, SET) or isinstance(value, dict), name


def test_no_secret_is_in_it(table: Paging, store: Store) -> None:
    """The file allows neither a login nor guessing from a fingerprint."""
    live(store)
    text = json.dumps(export(table))
    factor = two_factor()
    secrets = [
        PASSWORD.value,
        factor.secret_ciphertext,
        *factor.recovery_code_hashes,
        session("phone", used=2).refresh_family_hash,
        *session("phone", used=2).refresh_token_hashes,
        str(session("phone", used=2).replaced_token_hash),
        token("fingerprint reset").value,
    ]
    assert not [secret for secret in secrets if secret in text]
    document = json.loads(text)
    assert document["user"]["password_hash"] == SET
    assert document["two_factor"]["recovery_code_hashes"] == SET
    assert document["sessions"][0]["refresh_family_hash"] == SET
    assert document["user"]["email"] == "ada@example.com"


def test_the_export_contains_no_other_user(table: Paging, store: Store) -> None:
    """A transaction may have held another user's commands."""
    live(store)
    text = json.dumps(export(table))
    assert uid("grace") not in text
    assert "grace@" not in text
    assert uid("nobody's reset") not in text


def test_outcomes_come_with_their_events_in_order(table: Paging, store: Store) -> None:
    """The oldest event comes first, for people to read."""
    live(store)
    events = [event for item in export(table)["outcomes"] for event in item["events"]]
    first = events[0]
    assert events
    assert {"type", "category", "sequence", "data"} == first.keys()
    assert any(event["data"].get("email") == "ada@example.com" for event in events)


def test_of_who_is_erased_the_tombstone_and_what_is_left_are_shown(
    table: Paging, store: Store
) -> None:
    """The scrub job is shown until it is done; after that, no personal data is."""
    ada = committed(store, "ada")
    change = renamed(ada)
    assert change.user is not None
    gone = replace(
        change.user, erased=True, email=None, first_name="", last_name="", password_hash=None
    )
    must_commit(store, replace(change, user=gone, released=ada.email, scrub=True))
    before = export(table)
    assert before["erased"]
    assert before["address"] is None
    assert "scrub" in [item["kind"] for item in before["outbox"]]
    assert "ada@example.com" in json.dumps(before)
    scrub(store.outbox, uid("ada"))
    store.outbox.close(pending(store))
    after = export(table)
    assert after["user"]["erased"] is True
    assert "ada@example.com" not in json.dumps(after)
    assert [item["fingerprint"] for item in after["outcomes"]] == ["", ""]
    assert after["outbox"] == []


def test_what_this_version_does_not_know_is_shown_all_the_same(table: Paging, store: Store) -> None:
    """Kinds and attributes of a later worker, and damaged items. Secrets are masked by name."""
    committed(store, "ada")
    partition = {"S": f"USER#{uid('ada')}"}
    table.items[partition["S"], "PET#1"] = {
        "pk": partition,
        "sk": {"S": "PET#1"},
        "weight": {"N": "4.5"},
        "chip_token": {"S": "very secret"},
        "codes": {"L": [{"S": "very secret"}]},
    }
    table.items[partition["S"], "USER"]["schema"] = {"N": "99"}
    damaged = next(key for key in table.items if key[1].startswith("COMMAND#"))
    table.items[damaged]["events"] = {"S": "not JSON"}
    document = export(table)
    assert document["user"]["schema"] == 99
    assert document["other"][0]["weight"] == 4.5
    assert document["outcomes"][0]["events"] == "not JSON"
    assert "very secret" not in json.dumps(document)


def test_an_address_that_another_has_meanwhile_is_not_theirs(table: Paging, store: Store) -> None:
    """Its owner may change between two reads."""
    committed(store, "ada")
    table.items["EMAIL#ada@example.com", "EMAIL"]["user_id"] = {"S": uid("grace")}
    assert export(table)["address"] is None


def test_of_who_is_unknown_there_is_nothing(table: Paging) -> None:
    """The result is empty, without a user."""
    document = export(table, "nobody")
    assert (document["items"], document["user"]) == (0, None)


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ({"S": "x"}, "x"),
        ({"N": "7"}, 7),
        ({"N": "-0.5"}, -0.5),
        ({"BOOL": False}, False),
        ({"NULL": True}, None),
        ({"B": b"\x00\xff"}, "AP8="),
        ({"L": [{"S": "x"}, {"N": "1"}]}, ["x", 1]),
        ({"M": {"a": {"M": {"b": {"S": "x"}}}}}, {"a": {"b": "x"}}),
        ({"SS": ["a", "b"]}, ["a", "b"]),
        ({"NS": ["1", "2"]}, [1, 2]),
        ({"BS": [b"a"]}, ["YQ=="]),
    ],
)
def test_every_type_of_dynamodb_can_be_shown(stored: dict[str, Any], shown: object) -> None:
    """JSON has fewer types."""
    assert json.loads(json.dumps(plain({"x": stored})))["x"] == shown


def test_secrets_are_known_by_name_at_any_depth() -> None:
    """Ids of tokens and flags are not secrets; empty values stay empty."""
    value = {
        "token": {"token_hash": "a", "expires_at": "b"},
        "token_id": "c",
        "two_factor_enabled": True,
        "credential_version": 3,
        "fingerprint": "",
        "recovery_code_hashes": "d e",
        "refresh_token_hashes": ["f"],
        "list": [{"secret": "g"}],
        "code": "EmailTaken",
    }
    assert without_secrets(value) == {
        "token": {"token_hash": SET, "expires_at": "b"},
        "token_id": "c",
        "two_factor_enabled": True,
        "credential_version": 3,
        "fingerprint": "",
        "recovery_code_hashes": SET,
        "refresh_token_hashes": SET,
        "list": [{"secret": SET}],
        "code": "EmailTaken",
    }


# --- the file ---


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    """The umask has no effect."""
    before = os.umask(0)
    try:
        for force in (False, True):
            _write(tmp_path / str(force), "x", force=force)
            assert (tmp_path / str(force)).stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def test_a_file_is_replaced_only_by_force(tmp_path: Path) -> None:
    """With force, the file is replaced as a whole."""
    path = tmp_path / "ada.json"
    path.write_text("precious")
    with pytest.raises(UsageError, match="already exists"):
        _write(path, "x", force=False)
    assert path.read_text() == "precious"
    _write(path, "x", force=True)
    assert path.read_text() == "x"
    assert [file.name for file in tmp_path.iterdir()] == ["ada.json"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The error includes the system's reason."""
    for force in (False, True):
        with pytest.raises(CliError, match=r"cannot write .*: No such file"):
            _write(tmp_path / "nowhere" / "x", "x", force=force)
