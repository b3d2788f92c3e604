"""The permissions that a call needs, read from its request, whatever program makes it.

Resources are named as in deploy/policies: `REGION` and `ACCOUNT` stand for the account's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs

from tests.deploy.templates import evaluated, template
from tests.e2e.proxy import Answer, Denied, Exchange

POLICIES: Final = Path(__file__).parents[2] / "deploy" / "policies"
ANYTHING: Final = "*"
CONDITIONS: Final = ("KeyConditionExpression", "FilterExpression")
ATTRIBUTE: Final = re.compile(r"(?<![:.\w])#?[A-Za-z_]\w*")
"""An attribute of the item in an expression: no value, and no part of another attribute."""
WORDS: Final = frozenset({"AND", "OR", "NOT", "IN", "BETWEEN", "begins_with", "contains", "size"})
"""Operators and functions of expressions; those that are missing here count as attributes."""
READS: Final = frozenset({"BatchGetItem", "GetItem", "Query", "Scan"})
IN_A_TRANSACTION: Final = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}
"""A transaction needs the permission of each of its actions, and none of its own."""
OF_A_QUEUE_MOVE: Final = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
"""Calls that SQS makes with the permissions of the caller that starts a move."""
OF_A_RESTORE: Final = (
    *("BatchWriteItem", "DeleteItem", "GetItem", "PutItem", "Query", "Scan", "UpdateItem"),
)
"""Permissions on the new table that a restore needs, beside its own on both tables.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/backuprestore_IAM.html
"""
WITHOUT_RESOURCE: Final = frozenset({"ListQueues", "ListTopics", "Unsubscribe", "ListTables"})
"""Actions that IAM can allow for all resources only."""


Context: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]
"""Values of condition keys; a key that the request does not have is absent."""


@dataclass(frozen=True, slots=True, order=True)
class Use:
    """One action on one resource."""

    action: str
    resource: str
    key: str = ""
    """For a table: the partition keys' prefix."""
    context: Context = ()
    """Values of the other condition keys that policies use."""


@dataclass(slots=True)
class Recorder:
    """A fault that records the permissions of each call, and forwards the call.

    With a policy it denies, as IAM does, a call that the policy does not allow.
    """

    uses: set[Use] = field(default_factory=set)
    policy: Policy | None = None

    def strike(self, exchange: Exchange) -> None:
        """Record the permissions."""
        needed = set(uses(exchange.operation, exchange.asked))
        self.uses |= needed
        if self.policy is not None and self.policy.lacks(needed):
            Denied().strike(exchange)
        else:
            exchange.answer(self.reply(exchange))

    def reply(self, exchange: Exchange) -> Answer:
        """Return the answer to an allowed call: that of AWS."""
        return exchange.forward()


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
    resource = f"arn:aws:sns:REGION:ACCOUNT:{name}" if name else ANYTHING
    if operation != "Subscribe":
        return Use(action, resource)
    endpoint = asked["Endpoint"].split(":")
    if asked["Endpoint"].startswith("arn:"):
        endpoint[3:5] = ["REGION", "ACCOUNT"]
    context = (("sns:Endpoint", (":".join(endpoint),)), ("sns:Protocol", (asked["Protocol"],)))
    return Use(action, resource, context=context)


def _of_dynamodb(operation: str, asked: dict[str, Any]) -> Iterator[Use]:
    if operation == "TransactWriteItems":
        for item in asked["TransactItems"]:
            for kind, part in item.items():
                yield _at(IN_A_TRANSACTION[kind], part["TableName"], part)
    elif operation == "RestoreTableToPointInTime":
        source, target = _table(asked["SourceTableName"]), _table(asked["TargetTableName"])
        yield Use(f"dynamodb:{operation}", source)
        for action in (operation, *OF_A_RESTORE):
            yield Use(f"dynamodb:{action}", target)
    elif "TableArn" in asked:
        yield Use(f"dynamodb:{operation}", _table(asked["TableArn"]))
    elif "RequestItems" in asked:
        for name, wanted in asked["RequestItems"].items():
            for part in _parts(wanted):
                yield _at(operation, name, part, context=_selected(operation, wanted))
    else:
        index = f"/index/{asked['IndexName']}" if "IndexName" in asked else ""
        yield _at(operation, asked["TableName"], asked, index, _selected(operation, asked))


def _selected(operation: str, asked: Any) -> Context:
    """Return the attributes that a read requests.

    Without a projection, a read requests all of them: then their names are not in the request.
    """
    if operation not in READS:
        return ()
    expression = asked.get("ProjectionExpression")
    if expression is None:
        return (("dynamodb:Select", (asked.get("Select", "ALL_ATTRIBUTES"),)),)
    expressions = (expression, *(asked.get(name, "") for name in CONDITIONS))
    used = {word for each in expressions for word in ATTRIBUTE.findall(each)} - WORDS
    aliases = asked.get("ExpressionAttributeNames", {})
    names = {aliases.get(name, name) for name in used}
    return (
        ("dynamodb:Attributes", tuple(sorted(names))),
        ("dynamodb:Select", ("SPECIFIC_ATTRIBUTES",)),
    )


def _parts(wanted: Any) -> list[dict[str, Any]]:
    """Return the requests of a BatchGetItem or a BatchWriteItem to one table, item by item."""
    if isinstance(wanted, list):
        return [request for each in wanted for request in each.values()]
    return [{"Key": key} for key in wanted.get("Keys", [{}])]


def _at(
    operation: str, name: str, part: dict[str, Any], index: str = "", context: Context = ()
) -> Use:
    key: str = (part.get("Item") or part.get("Key") or {}).get("pk", {}).get("S", "")
    if operation == "Query" and not index:
        key = _queried(part)
    prefix = key and f"{key.partition('#')[0]}#"
    return Use(f"dynamodb:{operation}", _table(name) + index, prefix, context)


def _queried(asked: dict[str, Any]) -> str:
    """Return the partition key of a query; "" if the test states none."""
    named = re.search(r"\bpk = (:\w+)", asked.get("KeyConditionExpression", ""))
    values = asked.get("ExpressionAttributeValues", {})
    return str(values.get(named[1], {}).get("S", "")) if named else ""


def _queue(name: str) -> str:
    assert name
    return f"arn:aws:sqs:REGION:ACCOUNT:{name}"


def _table(name: str) -> str:
    return f"arn:aws:dynamodb:REGION:ACCOUNT:table/{name.rpartition('/')[2]}"


# --- policies ------------------------------------------------------------------------------

OPERATORS: Final[dict[str, Callable[[str, str], bool]]] = {
    "StringEquals": str.__eq__,
    "StringLike": fnmatchcase,
    "Bool": str.__eq__,
}
"""How the value of a request is compared with one of a policy."""
NEGATED: Final = {"StringNotEquals": "StringEquals", "StringNotLike": "StringLike"}
"""These hold if no value of the policy matches, and for a key that the request does not have."""
FOR_ALL: Final = "ForAllValues:"
IF_EXISTS: Final = "IfExists"


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """An action that a policy allows on a resource, if its conditions hold."""

    action: str
    resource: str
    conditions: str = "{}"
    """The Condition of the statement, as JSON."""

    def covers(self, use: Use) -> bool:
        """Return True if IAM would allow the use by this grant.

        Raises:
            AssertionError: a condition has an operator that is not implemented here.
        """
        return (
            self.action == use.action
            and fnmatchcase(use.resource, self.resource)
            and conditions_hold(json.loads(self.conditions), _context_of(use))
        )

    def unused(self, uses: Iterable[Use]) -> set[str]:
        """Return the values of conditions that no use needs, of those that list what is allowed."""
        context = [_context_of(use) for use in uses]
        found: set[str] = set()
        for operator, keys in json.loads(self.conditions).items():
            compare = OPERATORS.get(operator.removeprefix(FOR_ALL).removesuffix(IF_EXISTS))
            if compare is None:
                continue
            for key, allowed in keys.items():
                seen = {value for each in context for value in each.get(key, ())}
                left = [a for a in _listed(allowed) if not any(compare(v, a) for v in seen)]
                found |= {f"{key} {value}" for value in left}
        return found


@dataclass(frozen=True, slots=True)
class Policy:
    """The grants of a role: every pair of an action and a resource that its policy allows."""

    grants: frozenset[Grant]
    names: frozenset[str] = field(default=frozenset(), compare=False)
    """The policies that it consists of: those of deploy/policies, and `queues/NAME`."""

    @classmethod
    def of(cls, role: str, **names: str) -> Policy:
        """Parse a role's policy; `names` replace words such as SUBSCRIBER."""
        text = (POLICIES / f"{role}.json").read_text()
        for word, name in names.items():
            text = text.replace(word, name)
        return replace(cls.parse(json.loads(text)), names=frozenset({role}))

    @classmethod
    def parse(cls, policy: dict[str, Any]) -> Policy:
        """Parse a policy that allows only."""
        assert all(statement["Effect"] == "Allow" for statement in policy["Statement"])
        return cls(
            frozenset(
                Grant(action, resource, json.dumps(statement.get("Condition", {})))
                for statement in policy["Statement"]
                for action in _listed(statement["Action"])
                for resource in _listed(statement["Resource"])
                if not action.startswith("kms:")  # emulators do not encrypt
            )
        )

    @classmethod
    def of_queues(cls, name: str) -> Policy:
        """Parse a policy of deploy/queues.yaml, as deployed with the default names."""
        document = evaluated("queues", name)["PolicyDocument"]
        grants = frozenset(
            Grant(action, _deployed(resource), json.dumps(statement.get("Condition", {})))
            for statement in document["Statement"]
            for action in _listed(statement["Action"])
            for resource in _listed(statement["Resource"])
            if not action.startswith("kms:")
        )
        return cls(grants, frozenset({f"queues/{name}"}))

    def __or__(self, other: Policy) -> Policy:
        """Return the grants of both policies."""
        return Policy(self.grants | other.grants, self.names | other.names)

    def lacks(self, seen: set[Use]) -> list[Use]:
        """Return used permissions that are not allowed."""
        return sorted(use for use in seen if not any(g.covers(use) for g in self.grants))

    def idle(self, seen: set[Use]) -> list[tuple[Grant, set[str]]]:
        """Return allowed permissions that were not used, and values of conditions not needed."""
        found: list[tuple[Grant, set[str]]] = []
        for grant in sorted(self.grants):
            covered = [use for use in seen if grant.covers(use)]
            unused = grant.unused(covered)
            if not covered or unused:
                found.append((grant, unused))
        return found


def _context_of(use: Use) -> dict[str, tuple[str, ...]]:
    keys = {"dynamodb:LeadingKeys": (use.key,)} if use.key else {}
    return {**keys, **dict(use.context)}


def _deployed(resource: str) -> str:
    """Return the ARN of `NAME.Arn`, a queue of deploy/queues.yaml or deploy/resources.yaml."""
    logical = resource.removesuffix(".Arn")
    ours = logical in template("queues")["Resources"]
    name = evaluated("queues" if ours else "resources", logical)["QueueName"]
    return f"arn:aws:sqs:REGION:ACCOUNT:{name}"


def conditions_hold(conditions: dict[str, Any], context: Mapping[str, tuple[str, ...]]) -> bool:
    """Evaluate the Condition of a statement: all of its operators and keys must hold.

    A key that the request does not have makes `ForAllValues` and `IfExists` true, so a policy that
    lists what is allowed must require the key as well, by `Null`.
    """
    for operator, keys in conditions.items():
        for key, wanted in keys.items():
            values = context.get(key)
            if operator == "Null":
                assert wanted in {"true", "false"}
                holds = (values is None) == (wanted == "true")
            else:
                plain = operator.removeprefix(FOR_ALL).removesuffix(IF_EXISTS)
                negated = plain in NEGATED
                plain = NEGATED.get(plain, plain)
                assert plain in OPERATORS, f"{operator} is not implemented by the tests"
                for_all, if_exists = operator.startswith(FOR_ALL), operator.endswith(IF_EXISTS)
                if values is None:
                    holds = for_all or if_exists or negated
                else:
                    assert for_all or len(values) == 1, f"{key} has several values"
                    compare = OPERATORS[plain]
                    holds = all(
                        any(compare(v, w) for w in _listed(wanted)) != negated for v in values
                    )
            if not holds:
                return False
    return True


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
