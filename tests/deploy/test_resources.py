"""The template creates the same resources as `provision`; `test_stack` tests its deployment."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from typing import Any

import pytest

from adapters.dynamodb.provision import ATTRIBUTES, INDEX, KEYS, ON_DEMAND
from adapters.dynamodb.table import TTL_ATTRIBUTE
from adapters.provision import queue_attributes, queue_differences
from tests.deploy.stacks import settings_of
from tests.deploy.templates import evaluated, template
from worker.bootstrap import resources
from worker.settings import Settings

ONLY_IN_PRODUCTION = {
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "QueueName",
    "RedriveAllowPolicy",
}
ARNS = template("resources")["Parameters"]["AdditionalQueueArns"]["AllowedPattern"]
HIGH_THROUGHPUT = {"DeduplicationScope", "FifoThroughputLimit"}
QUEUES = {
    "CommandQueue": "command_queue",
    "PriorityQueue": "priority_queue",
    "DeadLetterQueue": "dead_letter_queue",
    "QuarantineQueue": "quarantine_queue",
}
LETTERS = {"DeadLetterQueue", "QuarantineQueue"}


def as_sqs_has_it(value: Any) -> str:
    """Return an attribute as text."""
    return value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize("fifo", [False, True], ids=["standard", "fifo"])
@pytest.mark.parametrize("resource", QUEUES)
def test_a_queue_is_as_in_development(resource: str, *, fifo: bool) -> None:
    """Name and attributes are equal; additional attributes are for production only."""
    settings = settings_of(fifo=fifo)
    made = evaluated("resources", resource, Fifo=json.dumps(fifo))
    assert made["QueueName"] == getattr(settings, QUEUES[resource])
    dead = None if resource in LETTERS else "DeadLetterQueue.Arn"
    wanted = queue_attributes(resources(settings), made["QueueName"], dead)
    assert queue_differences({k: as_sqs_has_it(v) for k, v in made.items()}, wanted) == []
    more = ONLY_IN_PRODUCTION | (HIGH_THROUGHPUT if fifo else set())
    assert made.keys() - wanted.keys() <= more
    own_key = resource == "QuarantineQueue"
    assert made["KmsMasterKeyId"] == ("QuarantineKey.Arn" if own_key else "Key.Arn")


@pytest.mark.parametrize("fifo", [False, True], ids=["standard", "fifo"])
@pytest.mark.parametrize("more", [0, 1, 8])
def test_the_dead_letter_queue_takes_those_of_the_command_queues(more: int, *, fifo: bool) -> None:
    """It accepts those of its own queues and of the ones that are named, and of no other."""
    settings = settings_of(fifo=fifo)
    names = [f"q{number}" for number in range(more)]
    arns = ",".join(f"arn:aws:sqs:REGION:ACCOUNT:{name}" for name in names)
    given = {"Fifo": json.dumps(fifo), "AdditionalQueueArns": arns}
    assert re.fullmatch(ARNS, arns)
    allowed = evaluated("resources", "DeadLetterQueue", **given)["RedriveAllowPolicy"]
    assert allowed["redrivePermission"] == "byQueue"
    named = [arn.rpartition(":")[2] for arn in allowed["sourceQueueArns"]]
    assert named == [settings.command_queue, settings.priority_queue, *names]
    here = "arn:AWS::Partition:sqs:AWS::Region:AWS::AccountId:"
    assert all(arn.startswith(here) for arn in allowed["sourceQueueArns"][:2])


def test_the_dead_letter_queue_of_more_queues_than_sqs_can_name_is_open() -> None:
    """SQS names ten at most, so the ninth additional queue is refused, and `*` opens it."""
    nine = ",".join(f"arn:aws:sqs:REGION:ACCOUNT:q{number}" for number in range(9))
    assert not re.fullmatch(ARNS, nine)
    assert not re.fullmatch(ARNS, "q1")
    assert re.fullmatch(ARNS, "*")
    allowed = evaluated("resources", "DeadLetterQueue", AdditionalQueueArns="*")
    assert allowed["RedriveAllowPolicy"] == {"redrivePermission": "allowAll"}


@pytest.mark.parametrize("kind", ["", "Personal"], ids=["ordinary", "personal"])
@pytest.mark.parametrize("fifo", [False, True], ids=["standard", "fifo"])
def test_the_topics_are_as_in_development(*, fifo: bool, kind: str) -> None:
    """Type and name are equal, and those of the queue for undelivered events fit."""
    made = evaluated("resources", f"{kind}Topic", Fifo=json.dumps(fifo))
    settings = settings_of(fifo=fifo)
    name = settings.personal_topic if kind else settings.events_topic
    high = {"FifoTopic": True, "FifoThroughputScope": "MessageGroup"} if fifo else {}
    assert made == {"TopicName": name, "KmsMasterKeyId": "Key.Arn", **high}
    undelivered = evaluated("resources", f"Undelivered{kind}Queue", Fifo=json.dumps(fifo))
    suffix = ".fifo" if fifo else ""
    assert undelivered["QueueName"] == f"{name.removesuffix(suffix)}-undelivered{suffix}"
    assert undelivered.get("FifoQueue", False) is fifo


def test_the_table_is_as_in_development() -> None:
    """Keys, index, billing and expiry are equal."""
    made = evaluated("resources", "Table")
    assert made["TableName"] == Settings(env="test").table
    assert made["KeySchema"] == KEYS
    assert made["AttributeDefinitions"] == ATTRIBUTES
    assert made["GlobalSecondaryIndexes"] == [INDEX]
    assert made["BillingMode"] == ON_DEMAND
    assert made["TimeToLiveSpecification"] == {"AttributeName": TTL_ATTRIBUTE, "Enabled": True}


BREAK_GLASS = "arn:aws:iam::123456789012:role/break-glass"


def _statements(resource: str, policy: str, **given: str) -> dict[str, dict[str, Any]]:
    found = evaluated("resources", resource, **given)[policy]["Statement"]
    return {each["Sid"]: each for each in found if isinstance(each, dict)}


def test_the_key_of_the_quarantine_queue_is_for_the_worker_and_for_one_role_that_reads() -> None:
    """The account can administer the key, and permits its use to no role."""
    allowed = _statements("QuarantineKey", "KeyPolicy", BreakGlassRoleArn=BREAK_GLASS)
    account, worker, reader = allowed.values()
    uses = ("Decrypt", "Encrypt", "GenerateDataKey", "ReEncrypt", "CreateGrant")
    assert not any(fnmatch(f"kms:{use}", pattern) for use in uses for pattern in account["Action"])
    assert worker["Condition"]["ArnLike"]["aws:PrincipalArn"].endswith(
        ":role/user-worker-service-TaskRole-*"
    )
    assert reader["Action"] == "kms:Decrypt"
    assert reader["Condition"]["ArnEquals"] == {"aws:PrincipalArn": BREAK_GLASS}
    for each in (worker, reader):
        assert each["Condition"]["StringEquals"]["kms:ViaService"].startswith("sqs.")


@pytest.mark.parametrize("arn", ["", BREAK_GLASS])
def test_one_role_or_none_may_read_the_quarantine_queue(arn: str) -> None:
    """The statement denies it whatever IAM allows, and to all roles if no role is named."""
    denied = _statements("QuarantineQueuePolicy", "PolicyDocument", BreakGlassRoleArn=arn)
    reading = denied["BreakGlassAlone"]
    assert (reading["Effect"], reading["Principal"]) == ("Deny", "*")
    assert {"sqs:ReceiveMessage", "sqs:StartMessageMoveTask"} <= set(reading["Action"])
    (reader,) = reading["Condition"]["ArnNotEquals"].values()
    assert reader == arn or (not arn and reader.endswith(":role/none"))
    keys = _statements("QuarantineKey", "KeyPolicy", BreakGlassRoleArn=arn)
    assert ("BreakGlassDecrypts" in keys) is bool(arn)
