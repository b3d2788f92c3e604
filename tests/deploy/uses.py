"""The permissions that a call needs, read from its request, whatever program makes it.

Resources are named as in deploy/policies: `REGION` and `ACCOUNT` stand for the account's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from tests.deploy.templates import evaluated, template
from tests.e2e.proxy import Exchange

POLICIES: Final = Path(__file__).parents[2] / "deploy" / "policies"
ANYTHING: Final = "*"
IN_A_TRANSACTION: Final = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}
"""A transaction needs the permission of each of its actions, and none of its own."""
OF_A_QUEUE_MOVE: Final = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
"""Calls that SQS makes with the permissions of the caller that starts a move."""
WITHOUT_RESOURCE: Final = frozenset({"ListQueues", "ListTopics", "Unsubscribe", "ListTables"})
"""Actions that IAM can allow for all resources only."""


@dataclass(frozen=True, slots=True, order=True)
class Use:
    """One action on one resource."""

    action: str
    resource: str
    key: str = ""
    """For a table: the partition keys' prefix; in a grant, a pattern of it."""


@dataclass(slots=True)
class Recorder:
    """A fault without effect: it records the permissions of each call, and forwards the call."""

    uses: set[Use] = field(default_factory=set)

    def strike(self, exchange: Exchange) -> None:
        """Record the permissions."""
        self.uses |= set(uses(exchange.operation, exchange.asked))
        exchange.answer(exchange.forward())


def uses(operation: str, body: bytes) -> Iterator[Use]:
    """Yield the permissions that a call needs.

    Raises:
        AssertionError: The call is not known here.
    """
    if body.startswith(b"{"):
        asked = json.loads(body)
        if "QueueUrl" in asked or "QueueName" in asked or "Queue" in operation:
            yield from _of_sqs(operation, asked)
        elif "MessageMoveTask" in operation:
            yield from _of_a_move(operation, asked)
        else:
            yield from _of_dynamodb(operation, asked)
    else:
        asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        yield _of_sns(operation, asked)


def _of_sqs(operation: str, asked: dict[str, Any]) -> Iterator[Use]:
    action = f"sqs:{operation.removesuffix('Batch')}"
    name = asked.get("QueueName") or asked.get("QueueUrl", "").rpartition("/")[2]
    yield Use(action, _queue(name) if operation not in WITHOUT_RESOURCE else ANYTHING)


def _of_a_move(operation: str, asked: dict[str, Any]) -> Iterator[Use]:
    source = asked.get("SourceArn", "").rpartition(":")[2]
    yield Use(f"sqs:{operation}", _queue(source))
    if operation == "StartMessageMoveTask":
        for action in OF_A_QUEUE_MOVE:
            yield Use(f"sqs:{action}", _queue(source))
        if "DestinationArn" in asked:
            yield Use("sqs:SendMessage", _queue(asked["DestinationArn"].rpartition(":")[2]))


def _of_sns(operation: str, asked: dict[str, str]) -> Use:
    action = f"sns:{operation.removesuffix('Batch')}"
    name = asked.get("TopicArn", asked.get("Name", "")).rpartition(":")[2]
    assert name or operation in WITHOUT_RESOURCE, operation
    return Use(action, f"arn:aws:sns:REGION:ACCOUNT:{name}" if name else ANYTHING)


def _of_dynamodb(operation: str, asked: dict[str, Any]) -> Iterator[Use]:
    if operation == "TransactWriteItems":
        for item in asked["TransactItems"]:
            for kind, part in item.items():
                yield _at(IN_A_TRANSACTION[kind], part["TableName"], part)
    elif "RequestItems" in asked:
        for name, wanted in asked["RequestItems"].items():
            for part in _parts(wanted):
                yield _at(operation, name, part)
    else:
        index = f"/index/{asked['IndexName']}" if "IndexName" in asked else ""
        yield _at(operation, asked["TableName"], asked, index)


def _parts(wanted: Any) -> list[dict[str, Any]]:
    """Return the requests of a BatchGetItem or a BatchWriteItem to one table, item by item."""
    if isinstance(wanted, list):
        return [request for each in wanted for request in each.values()]
    return [{"Key": key} for key in wanted.get("Keys", [{}])]


def _at(operation: str, name: str, part: dict[str, Any], index: str = "") -> Use:
    key = (part.get("Item") or part.get("Key") or {}).get("pk", {}).get("S", "")
    return Use(f"dynamodb:{operation}", _table(name) + index, key and f"{key.partition('#')[0]}#")


def _queue(name: str) -> str:
    assert name
    return f"arn:aws:sqs:REGION:ACCOUNT:{name}"


def _table(name: str) -> str:
    return f"arn:aws:dynamodb:REGION:ACCOUNT:table/{name.rpartition('/')[2]}"


# --- policies ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Policy:
    """The grants of a role: every pair of an action and a resource that its policy allows."""

    grants: frozenset[Use]

    @classmethod
    def of(cls, role: str, **names: str) -> Policy:
        """Parse a role's policy; `names` replace words such as SUBSCRIBER."""
        text = (POLICIES / f"{role}.json").read_text()
        for word, name in names.items():
            text = text.replace(word, name)
        return cls(
            frozenset(
                Use(action, resource, key)
                for statement in json.loads(text)["Statement"]
                for action in _listed(statement["Action"])
                for resource in _listed(statement["Resource"])
                for key in _leading_keys(statement)
                if not action.startswith("kms:")  # emulators do not encrypt
            )
        )

    @classmethod
    def of_queues(cls, name: str) -> Policy:
        """Parse a policy of deploy/queues.yaml, as deployed with the default names."""
        document = evaluated("queues", name)["PolicyDocument"]
        return cls(
            frozenset(
                Use(action, _deployed(resource))
                for statement in document["Statement"]
                for action in _listed(statement["Action"])
                for resource in _listed(statement["Resource"])
                if not action.startswith("kms:")
            )
        )

    def __or__(self, other: Policy) -> Policy:
        """Return the grants of both policies."""
        return Policy(self.grants | other.grants)

    def lacks(self, seen: set[Use]) -> list[Use]:
        """Return used permissions that are not allowed."""
        return sorted(use for use in seen if not any(_covers(g, use) for g in self.grants))

    def idle(self, seen: set[Use]) -> list[Use]:
        """Return allowed permissions that were not used."""
        return sorted(g for g in self.grants if not any(_covers(g, use) for use in seen))


def _covers(grant: Use, use: Use) -> bool:
    return (
        grant.action == use.action
        and fnmatchcase(use.resource, grant.resource)
        and fnmatchcase(use.key, grant.key or ANYTHING)
    )


def _deployed(resource: str) -> str:
    """Return the ARN of `NAME.Arn`, a queue of deploy/queues.yaml or deploy/resources.yaml."""
    logical = resource.removesuffix(".Arn")
    ours = logical in template("queues")["Resources"]
    name = evaluated("queues" if ours else "resources", logical)["QueueName"]
    return f"arn:aws:sqs:REGION:ACCOUNT:{name}"


def _leading_keys(statement: dict[str, Any]) -> list[str]:
    condition = statement.get("Condition", {}).get("ForAllValues:StringLike", {})
    keys: list[str] = condition.get("dynamodb:LeadingKeys", [""])
    return keys


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
