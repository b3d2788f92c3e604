"""The recorder and the comparison with policies, which the tests of the roles use."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.deploy.roles import DEAD, QUEUE
from tests.deploy.uses import Policy, Use, uses

TABLE = "arn:aws:dynamodb:REGION:ACCOUNT:table/users"
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
        ("BatchGetItem", {"RequestItems": {"users": {}}}, {("dynamodb:BatchGetItem", TABLE)}),
        (
            "Query",
            {"TableName": "users", "IndexName": "I"},
            {("dynamodb:Query", f"{TABLE}/index/I")},
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
    operation: str, asked: dict[str, Any], needed: set[tuple[str, str]]
) -> None:
    """Operations of the API and actions of IAM differ."""
    assert set(uses(operation, json.dumps(asked).encode())) == {Use(*each) for each in needed}


def test_a_policy_is_found_too_narrow_and_too_wide() -> None:
    """Both make the test of a role fail."""
    policy = Policy(frozenset({Use("sqs:SendMessage", "q-*"), Use("sqs:PurgeQueue", "q-*")}))
    assert policy.lacks({Use("sqs:SendMessage", "q-1")}) == []
    assert policy.lacks({Use("sqs:SendMessage", "other")}) == [Use("sqs:SendMessage", "other")]
    assert policy.idle({Use("sqs:SendMessage", "q-1")}) == [Use("sqs:PurgeQueue", "q-*")]


def test_a_grant_for_some_partitions_covers_no_other() -> None:
    """This is IAM's rule for the condition on leading keys."""
    outbox = Policy(frozenset({Use("dynamodb:PutItem", TABLE, "OUTBOX#*")}))
    for key, fits in {"OUTBOX#3": True, "USER#1": False}.items():
        item = {"TableName": "users", "Item": {"pk": {"S": key}}}
        in_a_transaction = {"TransactItems": [{"Put": item}]}
        alone = set(uses("PutItem", json.dumps(item).encode()))
        assert alone == set(uses("TransactWriteItems", json.dumps(in_a_transaction).encode()))
        assert (outbox.lacks(alone) == []) is fits
    whole_partition = {"TableName": "users", "KeyConditionExpression": "pk = :pk"}
    assert outbox.lacks(set(uses("PutItem", json.dumps(whole_partition).encode())))
