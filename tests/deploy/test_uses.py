"""The recorder and the comparison with policies, which the tests of the roles use."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.deploy.roles import DEAD, QUEUE
from tests.deploy.uses import Grant, Policy, Use, uses

TABLE = "arn:aws:dynamodb:REGION:ACCOUNT:table/users"
ALL = (("dynamodb:Select", ("ALL_ATTRIBUTES",)),)
PUT_AND_CHECK = {
    "TransactItems": [{"Put": {"TableName": "users"}}, {"ConditionCheck": {"TableName": "users"}}]
}
MOVE = {
    "SourceArn": f"arn:aws:sqs:us-east-1:000000000000:{DEAD}",
    "DestinationArn": f"arn:aws:sqs:us-east-1:000000000000:{QUEUE}",
}


@pytest.mark.parametrize(
    ("operation", "asked", "needed"),
    [
        (
            "TransactWriteItems",
            PUT_AND_CHECK,
            {("dynamodb:PutItem", TABLE), ("dynamodb:ConditionCheckItem", TABLE)},
        ),
        (
            "BatchGetItem",
            {"RequestItems": {"users": {}}},
            {("dynamodb:BatchGetItem", TABLE, "", ALL)},
        ),
        (
            "Query",
            {"TableName": "users", "IndexName": "I"},
            {("dynamodb:Query", f"{TABLE}/index/I", "", ALL)},
        ),
        (
            "SendMessageBatch",
            {"QueueUrl": f"http://x/0/{QUEUE}"},
            {("sqs:SendMessage", f"arn:aws:sqs:REGION:ACCOUNT:{QUEUE}")},
        ),
        ("ListQueues", {}, {("sqs:ListQueues", "*")}),
        (
            "StartMessageMoveTask",
            MOVE,
            {
                ("sqs:StartMessageMoveTask", f"arn:aws:sqs:REGION:ACCOUNT:{DEAD}"),
                ("sqs:ReceiveMessage", f"arn:aws:sqs:REGION:ACCOUNT:{DEAD}"),
                ("sqs:DeleteMessage", f"arn:aws:sqs:REGION:ACCOUNT:{DEAD}"),
                ("sqs:GetQueueAttributes", f"arn:aws:sqs:REGION:ACCOUNT:{DEAD}"),
                ("sqs:SendMessage", f"arn:aws:sqs:REGION:ACCOUNT:{QUEUE}"),
            },
        ),
    ],
)
def test_a_call_needs_the_permissions_that_iam_names(
    operation: str, asked: dict[str, Any], needed: set[Any]
) -> None:
    """Operations of the API and actions of IAM differ."""
    assert set(uses(operation, json.dumps(asked).encode())) == {Use(*each) for each in needed}


def test_a_policy_is_found_too_narrow_and_too_wide() -> None:
    """Both make the test of a role fail."""
    policy = Policy(frozenset({Grant("sqs:SendMessage", "q-*"), Grant("sqs:PurgeQueue", "q-*")}))
    assert policy.lacks({Use("sqs:SendMessage", "q-1")}) == []
    assert policy.lacks({Use("sqs:SendMessage", "other")}) == [Use("sqs:SendMessage", "other")]
    assert policy.idle({Use("sqs:SendMessage", "q-1")}) == [(Grant("sqs:PurgeQueue", "q-*"), set())]


def allowing(action: str, condition: dict[str, Any]) -> Policy:
    """Return a policy that allows an action on the table under a condition."""
    statement = {"Effect": "Allow", "Action": action, "Resource": TABLE, "Condition": condition}
    return Policy.parse({"Statement": [statement]})


def used(operation: str, asked: dict[str, Any]) -> set[Use]:
    """Return the permissions that a call needs."""
    return {*uses(operation, json.dumps(asked).encode())}


def test_a_grant_for_some_partitions_covers_no_other() -> None:
    """This is IAM's rule for the condition on leading keys."""
    keys = {"dynamodb:LeadingKeys": ["OUTBOX#*"]}
    present = {"dynamodb:LeadingKeys": "false"}
    outbox = allowing("dynamodb:PutItem", {"ForAllValues:StringLike": keys, "Null": present})
    for key, fits in {"OUTBOX#3": True, "USER#1": False}.items():
        item = {"TableName": "users", "Item": {"pk": {"S": key}}}
        in_a_transaction = {"TransactItems": [{"Put": item}]}
        assert used("PutItem", item) == used("TransactWriteItems", in_a_transaction)
        assert (outbox.lacks(used("PutItem", item)) == []) is fits
    whole_partition = {"TableName": "users", "KeyConditionExpression": "pk = :pk"}
    assert outbox.lacks(used("PutItem", whole_partition))


# --- attributes ---

LISTED = {"ForAllValues:StringEquals": {"dynamodb:Attributes": ["pk", "sk", "email"]}}
SELECTED = {"StringEqualsIfExists": {"dynamodb:Select": "SPECIFIC_ATTRIBUTES"}}
PRESENT = {"Null": {"dynamodb:Attributes": "false"}}
QUERY: dict[str, Any] = {
    "TableName": "users",
    "KeyConditionExpression": "pk = :pk AND begins_with(sk, :sk)",
    "ExpressionAttributeValues": {":pk": {"S": "USER#1"}, ":sk": {"S": "COMMAND#"}},
}


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ({"ProjectionExpression": "pk, sk, email"}, True),
        ({"ProjectionExpression": "#e", "ExpressionAttributeNames": {"#e": "email"}}, True),
        ({"ProjectionExpression": "#e", "ExpressionAttributeNames": {"#e": "ban"}}, False),
        ({"ProjectionExpression": "email, password_hash"}, False),
        ({"ProjectionExpression": "ban.reason"}, False),
        ({"ProjectionExpression": "email", "FilterExpression": "password_hash = :x"}, False),
        ({}, False),
        ({"Select": "ALL_ATTRIBUTES"}, False),
        ({"Select": "COUNT"}, False),
    ],
)
def test_a_grant_for_some_attributes_covers_no_other(asked: dict[str, Any], allowed: bool) -> None:
    """Named directly, by an alias, in a filter, or not at all."""
    policy = allowing("dynamodb:Query", {**LISTED, **SELECTED, **PRESENT})
    assert (policy.lacks(used("Query", {**QUERY, **asked})) == []) is allowed
    if asked.keys() <= {"ProjectionExpression", "ExpressionAttributeNames"}:
        batch = {"Keys": [{"pk": {"S": "USER#1"}, "sk": {"S": "USER"}}], **asked}
        policy = allowing("dynamodb:BatchGetItem", {**LISTED, **SELECTED, **PRESENT})
        found = policy.lacks(used("BatchGetItem", {"RequestItems": {"users": batch}}))
        assert (found == []) is allowed


@pytest.mark.parametrize(
    ("condition", "asked"),
    [
        ({**SELECTED, **PRESENT}, {"ProjectionExpression": "password_hash"}),
        (LISTED, {}),  # no attribute is named, so ForAllValues holds
    ],
)
def test_a_condition_without_one_of_its_parts_lets_credentials_through(
    condition: dict[str, Any], asked: dict[str, Any]
) -> None:
    """The tests of the policies would notice a part that is missing."""
    call = used("Query", {**QUERY, **asked})
    assert allowing("dynamodb:Query", condition).lacks(call) == []
    assert allowing("dynamodb:Query", {**LISTED, **SELECTED, **PRESENT}).lacks(call)


def test_an_attribute_that_is_allowed_and_not_requested_is_found() -> None:
    """The list of a policy is no longer than what the role requests."""
    policy = allowing("dynamodb:Query", {**LISTED, **SELECTED, **PRESENT})
    seen = used("Query", {**QUERY, "ProjectionExpression": "pk, sk"})
    ((_, unused),) = policy.idle(seen)
    assert unused == {"dynamodb:Attributes email"}
    assert policy.idle(seen | used("Query", {**QUERY, "ProjectionExpression": "email"})) == []


def test_an_operator_that_is_not_implemented_is_refused() -> None:
    """A condition that the tests cannot evaluate must not count as met."""
    policy = allowing("dynamodb:Query", {"DateGreaterThan": {"aws:CurrentTime": "2026"}})
    with pytest.raises(AssertionError, match="DateGreaterThan is not implemented"):
        policy.lacks(used("Query", QUERY))
