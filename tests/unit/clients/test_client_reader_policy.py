"""The reader's IAM policy allows what readers do, and nothing else."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.dynamodb import mapper, table
from adapters.dynamodb.projection import OF_READERS
from biome_users import LoginReader, UserReader
from domain.values import EmailAddress
from tests.builders import NOW, token, uid
from tests.persistence import new_user, session
from tests.unit.adapters.wire import Wire, answer

ROOT = Path(__file__).parents[3]
POLICY: dict[str, Any] = json.loads((ROOT / "deploy/policies/reader.json").read_text())
STATEMENTS = {statement["Sid"]: statement for statement in POLICY["Statement"]}
READS = STATEMENTS["ReadUsersSessionsAndAddresses"]
FINDS = STATEMENTS["FindTheSessionOfARefreshToken"]


def actions(statement: dict[str, Any]) -> set[str]:
    """Return a statement's actions."""
    listed = statement["Action"]
    return {listed} if isinstance(listed, str) else set(listed)


def made_by_the_reader() -> list[tuple[str, dict[str, Any]]]:
    """Call every method of a reader; give the operations and their requests."""
    phone = session("phone")
    user = replace(new_user("ada"), live_sessions={phone.session_id: phone.expires_at})
    address = EmailAddress("ada@example.com")
    found = [
        mapper.render_user(user),
        mapper.render_session(user.user_id, phone),
        mapper.render_address(address, user.user_id),
    ]
    key = table.session_key(user.user_id, uid("session phone"))

    def respond() -> Any:
        if wire.operations[-1] == "Query":
            return answer({"Items": [key]})
        return answer({"Responses": {"users": found}, "UnprocessedKeys": {}})

    wire = Wire(rest=respond)
    reader = LoginReader(client=wire.client, clock=lambda: NOW)
    assert reader.get(user.user_id)
    assert reader.get_many([user.user_id])
    assert reader.by_email(address.value)
    assert reader.by_refresh_token(token("phone family").value, token("phone 0").value)
    assert reader.session_is_good(user.user_id, uid("session phone"))
    assert len(reader.sessions(user.user_id)) == 1
    assert reader.outcome(user.user_id, uid("login")) is None
    return list(zip(wire.operations, wire.requests, strict=True))


def made_by_the_typescript_client() -> set[str]:
    """Return the operations of DynamoDB that the reader in TypeScript imports."""
    source = (ROOT / "clients/typescript/src/reader.ts").read_text()
    (imported,) = re.findall(r"import \{([^}]*)\} from \"@aws-sdk/client-dynamodb\"", source)
    return set(re.findall(r"(\w+)Command\b", imported))


def test_the_policy_allows_the_operations_that_readers_make_and_no_other() -> None:
    """Least privilege, in both directions."""
    made = {operation for operation, _ in made_by_the_reader()}
    assert made_by_the_typescript_client() == made
    allowed = {a.removeprefix("dynamodb:") for a in actions(READS) | actions(FINDS)}
    assert allowed == made | {"GetItem"}  # for readers without a client


def test_every_key_that_a_reader_reads_is_within_the_allowed_partitions() -> None:
    """The outbox, and outcomes of commands by address, are outside."""
    condition = READS["Condition"]
    prefixes = condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
    assert prefixes == [f"{table.USER_PREFIX}*", f"{table.EMAIL_PREFIX}*"]
    for operation, request in made_by_the_reader():
        if operation == "BatchGetItem":
            for key in request["RequestItems"]["users"]["Keys"]:
                assert key["pk"]["S"].startswith((table.USER_PREFIX, table.EMAIL_PREFIX))
    # a condition on a key that a request lacks holds otherwise
    assert condition["Null"] == {"dynamodb:LeadingKeys": "false"}


def test_queries_are_of_the_index_alone() -> None:
    """Readers must not query whole partitions of the table, which include outcomes."""
    for operation, request in made_by_the_reader():
        if operation == "Query":
            assert request["IndexName"] == table.REFRESH_TOKEN_INDEX
    assert FINDS["Resource"].endswith(f":table/users/index/{table.REFRESH_TOKEN_INDEX}")
    assert READS["Resource"].endswith(":table/users")


@pytest.mark.parametrize("sid", STATEMENTS)
def test_no_statement_is_wider_than_its_purpose(sid: str) -> None:
    """No wildcard action or resource, and no action that writes."""
    statement = STATEMENTS[sid]
    assert statement["Effect"] == "Allow"
    assert not {"NotAction", "NotResource", "Principal"} & statement.keys()
    assert "*" not in statement["Resource"]
    for action in actions(statement):
        assert re.fullmatch(r"dynamodb:(BatchGetItem|GetItem|Query)|kms:Decrypt", action)


def test_the_key_serves_only_by_way_of_dynamodb_and_for_the_table() -> None:
    """A reader can decrypt nothing by itself."""
    conditions = STATEMENTS["DecryptTheTable"]["Condition"]["StringEquals"]
    assert conditions["kms:ViaService"] == "dynamodb.REGION.amazonaws.com"
    assert conditions["kms:EncryptionContext:aws:dynamodb:tableName"] == "users"


def test_a_reader_without_credentials_requests_none() -> None:
    """It requests what its policy allows, in both languages, and has no method that needs more."""
    source = (ROOT / "clients/typescript/src/reader.ts").read_text()
    listed = source.split("WITHOUT_CREDENTIALS: readonly string[] = [")[1].split("\n];")[0]
    assert set(re.findall(r'"(\w+)"', listed)) == {*OF_READERS}
    wire = Wire(rest=lambda: answer({"Responses": {"users": []}, "UnprocessedKeys": {}}))
    reader = UserReader(client=wire.client)
    needing = {"second_factor", "by_refresh_token", "check_token"}
    assert needing == {*dir(LoginReader)} - {*dir(UserReader)} - {"_check_token"}
    assert reader.get(uid("ada")) is None
    assert reader.by_email("ada@example.com") is None
    assert reader.sessions(uid("ada")) == []
    assert not reader.session_is_good(uid("ada"), uid("phone"))
    assert reader.outcome(uid("ada"), uid("login")) is None
    assert len(wire.requests) == 5
    for request in wire.requests:
        asked = request["RequestItems"]["users"]
        assert {*asked["ExpressionAttributeNames"].values()} == {*OF_READERS}
