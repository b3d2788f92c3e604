"""Properties of the roles' policies that recording their calls cannot show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from adapters.dynamodb.projection import CREDENTIALS, OF_OPERATORS, OF_READERS, projection
from adapters.sns.subscription import PURPOSES
from application.permissions_file import parse_permissions
from console import sending
from domain.commands import EraseUser
from scripts import access_template
from tests.deploy import test_console_privilege, test_least_privilege
from tests.deploy.stacks import DEPLOY
from tests.deploy.templates import of_type, properties, template
from tests.deploy.uses import Policy, uses
from worker.settings import Settings

MANAGED_POLICY = 6_144
"""Maximum length in characters without blanks (IAM's quotas)."""
TEMPORARY = {f"{purpose}-*" for purpose in PURPOSES}
"""Temporary queues, whose names are not known in advance."""
OF_A_NEW_TABLE = [
    *("kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"),
    *("kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo"),
]
"""Actions that DynamoDB requires of a role that creates a table encrypted with a customer's key.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.usagenotes.html
"""
WITHOUT_RESOURCE = {"sns:Unsubscribe", "sqs:ListQueues"}
"""Actions that IAM allows for all resources or none."""


def statements(role: str) -> list[dict[str, Any]]:
    """Return the statements of a role's policy."""
    policy = json.loads((DEPLOY / "policies" / f"{role}.json").read_text())
    return list(policy["Statement"])


def listed(value: str | list[str]) -> list[str]:
    """Return a list for a value that may be a single text."""
    return [value] if isinstance(value, str) else value


def test_the_policies_of_the_template_are_those_of_the_folder() -> None:
    """The template is generated from the policies."""
    assert (DEPLOY / "access.yaml").read_text() == access_template.template()
    roles = {path.stem for path in (DEPLOY / "policies").glob("*.json")}
    assert roles == access_template.ROLES.keys()


@pytest.mark.parametrize("role", access_template.ROLES)
def test_a_policy_names_what_it_allows(role: str) -> None:
    """No action has a wildcard, all resources are the project's, and the length is within IAM's."""
    written = json.dumps(statements(role))
    assert len(re.sub(r"\s", "", written)) * 1.5 < MANAGED_POLICY  # names may be longer
    for statement in statements(role):
        actions, resources = listed(statement["Action"]), listed(statement["Resource"])
        assert statement["Effect"] == "Allow"
        assert all(re.fullmatch(r"(dynamodb|kms|sns|sqs):[A-Za-z]+", each) for each in actions)
        if resources == ["*"]:
            assert set(actions) <= WITHOUT_RESOURCE
        else:
            assert all(re.match(r"arn:aws:\w+:REGION:ACCOUNT:[\w/-]", each) for each in resources)


@pytest.mark.parametrize("role", access_template.ROLES)
def test_the_key_serves_a_role_for_what_it_does_and_no_more(role: str) -> None:
    """Only by the services whose encrypted resources it uses; encryption only if it sends."""
    used = {
        action
        for each in statements(role)
        if "SUBSCRIBER" not in json.dumps(each["Resource"])  # its own queues, like its key
        for action in listed(each["Action"])
        if not re.match(r"kms:|\w+:(Describe|List)", action)
    } - {"sns:GetTopicAttributes", "sns:Subscribe", "sns:Unsubscribe", "sqs:DeleteQueue"}
    services = {f"{action.partition(':')[0]}.REGION.amazonaws.com" for action in used}
    sends = used & {"sns:Publish", "sqs:SendMessage"}
    for_it = ["kms:Decrypt", *(["kms:GenerateDataKey"] if sends else [])]
    if "dynamodb:RestoreTableToPointInTime" in used:
        for_it = OF_A_NEW_TABLE
    of_the_key = [each for each in statements(role) if "kms:" in json.dumps(each["Action"])]
    keys = {each["Resource"]: each for each in of_the_key}
    assert len(keys) == len(of_the_key)
    assert keys.keys() <= access_template.KEYS.keys()
    for each in of_the_key:
        assert listed(each["Action"]) == for_it
    key, of_quarantine = (keys.pop(name, None) for name in access_template.KEYS)
    quarantine = any("-quarantine" in json.dumps(each["Resource"]) for each in statements(role))
    assert (of_quarantine is not None) is quarantine
    if of_quarantine is not None:
        assert via(of_quarantine) == {"sqs.REGION.amazonaws.com"}
    assert (key is not None) is (bool(used) and role != "break-glass")
    if key is not None:
        assert via(key) == services


def via(statement: dict[str, Any]) -> set[str]:
    """Return the services by which a statement allows the use of a key."""
    return set(listed(statement["Condition"]["StringEquals"]["kms:ViaService"]))


def test_one_role_alone_reads_quarantined_messages() -> None:
    """The worker sends to the queue; the operator may do nothing with it."""
    allowed = {
        role: {
            action
            for each in statements(role)
            if "-quarantine" in json.dumps(each["Resource"])
            for action in listed(each["Action"])
        }
        for role in access_template.ROLES
    }
    reading = {role for role, actions in allowed.items() if "sqs:ReceiveMessage" in actions}
    assert reading == {"break-glass"}
    assert {role for role, actions in allowed.items() if actions} == {"break-glass", "worker"}
    assert allowed["worker"] == {"sqs:SendMessage", "sqs:GetQueueUrl", "sqs:GetQueueAttributes"}


@pytest.mark.parametrize("role", access_template.ROLES)
def test_a_policy_is_open_only_where_names_are_made_up(role: str) -> None:
    """A wildcard stands for the rest of a queue's name or of a key; its width is not testable."""
    for each in statements(role):
        for resource in set(listed(each["Resource"])) - {"*"}:
            name = resource.rpartition(":")[2]
            assert "*" not in name or name in {"SUBSCRIBER*", *TEMPORARY}
        condition = each.get("Condition", {})
        keys = condition.get("ForAllValues:StringLike", {}).get("dynamodb:LeadingKeys", [])
        for key in keys:
            assert re.fullmatch(r"[A-Z]+#\*", key)
        for listed_keys in (key for name, key in _for_all_values(condition)):
            # otherwise a call without the key is allowed whatever it asks for
            assert condition["Null"][listed_keys] == "false"
        assert not {"NotAction", "NotResource", "Principal"} & each.keys()


def _for_all_values(condition: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the operators and keys of a condition that compare all values of a request."""
    return [
        (operator, key)
        for operator, keys in condition.items()
        if operator.startswith("ForAllValues:")
        for key in keys
    ]


# --- who may read credentials, and who may write users ---

READ_CREDENTIALS = {"worker", "migrator", "reader", "exporter"}
"""The policies that allow reads of hashes and ciphertexts."""
WRITE_USERS = {"worker", "migrator"}
"""The policies that allow writes of items of users."""
KINDS = {
    "USER": ("USER#1", "USER"),
    "SESSION": ("USER#1", "SESSION#1"),
    "TWO_FACTOR": ("USER#1", "TWO_FACTOR"),
    "COMMAND": ("USER#1", "COMMAND#1"),
}


def _reads(attributes: Iterable[str] | None) -> list[tuple[str, dict[str, Any]]]:
    """Return every kind of read of a user's items, of these attributes or of all."""
    asked = {} if attributes is None else projection([*attributes])
    key = {"pk": {"S": "USER#1"}, "sk": {"S": "USER"}}
    query = {
        "TableName": "users",
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": {"S": "USER#1"}},
    }
    return [
        ("GetItem", {"TableName": "users", "Key": key, **asked}),
        ("BatchGetItem", {"RequestItems": {"users": {"Keys": [key], **asked}}}),
        ("Query", {**query, **asked}),
        ("Scan", {"TableName": "users", **asked}),
    ]


NAMES = {"SUBSCRIBER": "x", "RESTORED": "users-restored"}
IAM_POLICIES = {"AWS::IAM::ManagedPolicy", "AWS::IAM::Role"}
"""The types of resources in the templates that contain a policy of IAM."""


def _managed() -> dict[str, Policy]:
    """Return each managed policy of deploy/, by the name that `Policy.names` has."""
    found = {
        path.stem: Policy.of(path.stem, **NAMES) for path in (DEPLOY / "policies").glob("*.json")
    }
    for name, logical in _of_templates("AWS::IAM::ManagedPolicy"):
        if name != "access":  # generated from deploy/policies
            assert name == "queues", f"{name}/{logical} is not known to the tests"
            found[f"queues/{logical}"] = Policy.of_queues(logical)
    return found


def _of_templates(kind: str) -> Iterator[tuple[str, str]]:
    """Yield template and name of each resource of a type, in every template of deploy/."""
    for path in sorted(DEPLOY.glob("*.yaml")):
        for logical in of_type(path.stem, kind):
            yield path.stem, logical


def _inline() -> dict[str, Policy]:
    """Return the policies within roles of the templates, by template, role and name."""
    found: dict[str, Policy] = {}
    for name, role in _of_templates("AWS::IAM::Role"):
        for policy in _policies_in(properties(name, role)):
            text = _without_functions(policy["PolicyDocument"])
            found[f"{name}/{role}/{policy['PolicyName']}"] = Policy.parse(text)
    return found


def _policies_in(part: Any) -> Iterator[dict[str, Any]]:
    """Yield the policies in a part of a template, those of every branch of a condition."""
    if isinstance(part, dict):
        if "PolicyDocument" in part:
            yield part
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from _policies_in(each)


def _without_functions(document: Any) -> dict[str, Any]:
    """Return a policy whose resources are texts, so that it can be compared with calls."""
    rows = [
        {**each, "Resource": [str(one) for one in _as_list(each["Resource"])]}
        for each in document["Statement"]
    ]
    return {"Statement": rows}


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


MANAGED = _managed()
POLICIES = MANAGED | _inline()
"""Every policy of IAM in deploy/: a new file or a new resource is included automatically."""


def _allowed(policy: str, operation: str, asked: dict[str, Any]) -> bool:
    """Return True if a policy allows a call."""
    used = {*uses(operation, json.dumps(asked).encode())}
    return POLICIES[policy].lacks(used) == []


def test_every_policy_is_compared_with_recorded_calls() -> None:
    """A policy without a test that has the mark `policies` fails here.

    The policies within roles of the templates are those of Fargate, the collector and the load
    balancer, which are not programs of this project.
    """
    marked: set[str] = set()
    for module in (test_least_privilege, test_console_privilege):
        for test in vars(module).values():
            marked |= _marked(getattr(test, "pytestmark", ()))
    assert marked == MANAGED.keys()


def _marked(marks: Iterable[pytest.Mark]) -> set[str]:
    """Return the names in marks `policies`, also of parameters."""
    found: set[str] = set()
    for mark in marks:
        if mark.name == "policies":
            found.update(mark.args)
        elif mark.name == "parametrize":
            for each in mark.args[1]:
                inner = getattr(each, "marks", ())
                found |= _marked(one if isinstance(one, pytest.Mark) else one.mark for one in inner)
    return found


def test_every_policy_of_the_templates_is_known_to_these_tests() -> None:
    """Other types of resources could contain a policy that no test looks at."""
    kinds = {
        each["Type"]
        for path in DEPLOY.glob("*.yaml")
        for each in template(path.stem)["Resources"].values()
        if each["Type"].startswith("AWS::IAM::")
    }
    assert kinds == IAM_POLICIES
    for name, role in _of_templates("AWS::IAM::Role"):
        assert ":aws:policy/" not in json.dumps(properties(name, role)), "a policy of AWS"
    assert POLICIES.keys() > MANAGED.keys() > {"worker", "restorer", "queues/WorkerPolicy"}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("attribute", [None, *sorted(CREDENTIALS)])
def test_only_these_policies_allow_reading_credentials(policy: str, attribute: str | None) -> None:
    """By no call, neither alone nor beside other attributes, nor with all (`None`)."""
    requested: list[list[str] | None] = [None]
    if attribute is not None:
        requested = [[attribute], ["pk", "sk", "email", attribute]]
    for names in requested:
        may = [_allowed(policy, operation, asked) for operation, asked in _reads(names)]
        assert any(may) == (policy in READ_CREDENTIALS)


@pytest.mark.parametrize("policy", POLICIES)
def test_only_a_restorer_may_copy_the_table(policy: str) -> None:
    """A copy contains the credentials of all users, so the role is for the time of a restore."""
    table = "arn:aws:dynamodb:REGION:ACCOUNT:table/users"
    calls: dict[str, dict[str, Any]] = {
        "RestoreTableToPointInTime": {
            "SourceTableName": "users",
            "TargetTableName": NAMES["RESTORED"],
        },
        "ExportTableToPointInTime": {"TableArn": table, "S3Bucket": "exports"},
        "CreateBackup": {"TableName": "users", "BackupName": "x"},
    }
    may = {operation for operation, asked in calls.items() if _allowed(policy, operation, asked)}
    copies = {"RestoreTableToPointInTime", "ExportTableToPointInTime"}
    assert may == (copies if policy == "restorer" else set())


@pytest.mark.parametrize(
    ("role", "attributes"),
    [
        ("reader-without-credentials", OF_READERS),
        ("operator", OF_OPERATORS),
        ("console", OF_OPERATORS),
    ],
)
def test_these_roles_may_read_everything_else(role: str, attributes: tuple[str, ...]) -> None:
    """The policy lists what the program requests, and no credential."""
    assert CREDENTIALS.isdisjoint(attributes)
    (statement,) = [s for s in statements(role) if "dynamodb:Attributes" in json.dumps(s)]
    allowed = statement["Condition"]["ForAllValues:StringEquals"]["dynamodb:Attributes"]
    assert sorted(allowed) == sorted(attributes)
    may = {operation: _allowed(role, operation, asked) for operation, asked in _reads(attributes)}
    assert may["BatchGetItem"]
    _, query = _reads(["pk"])[2]
    names = {**query["ExpressionAttributeNames"], "#x": "password_hash"}
    guess = {"FilterExpression": "begins_with(#x, :x)", "ExpressionAttributeNames": names}
    assert not _allowed(role, "Query", {**query, **guess})


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
def test_only_these_policies_allow_writing_items_of_users(policy: str, kind: str) -> None:
    """By no call, alone or in a transaction."""
    pk, sk = KINDS[kind]
    key = {"pk": {"S": pk}, "sk": {"S": sk}}
    put, delete = {"TableName": "users", "Item": key}, {"TableName": "users", "Key": key}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("PutItem", put),
        ("UpdateItem", delete),
        ("DeleteItem", delete),
        ("TransactWriteItems", {"TransactItems": [{"Put": put}]}),
        ("TransactWriteItems", {"TransactItems": [{"Delete": delete}]}),
        ("BatchWriteItem", {"RequestItems": {"users": [{"PutRequest": {"Item": key}}]}}),
        ("BatchWriteItem", {"RequestItems": {"users": [{"DeleteRequest": {"Key": key}}]}}),
    ]
    may = [_allowed(policy, operation, asked) for operation, asked in calls]
    assert any(may) == (policy in WRITE_USERS)


def test_the_example_lets_a_console_erase_users_once_it_is_a_comment_no_more() -> None:
    """The lines are valid, and name the source that the console states."""
    text = (DEPLOY / "permissions.toml").read_text()
    head, separator, block = text.partition("# [[producer]]\n")
    assert separator
    uncommented = re.sub(r"^# ", "", separator + block, flags=re.MULTILINE)
    queues = ("user-commands", "user-commands-priority", "user-commands-back-office")
    found = parse_permissions(head + uncommented, queues, Settings().roles)
    (producer,) = [each for each in found.producers if each.name == "console"]
    assert producer.commands == (EraseUser.__name__,)
    assert producer.sources == (sending.SOURCE,)


@pytest.mark.parametrize(
    ("protocol", "endpoint", "allowed"),
    [
        ("sqs", "arn:aws:sqs:us-east-1:000000000000:x-mailer", True),
        ("sqs", "arn:aws:sqs:us-east-1:000000000000:user-outcomes-1", True),
        ("sqs", "arn:aws:sqs:us-east-1:000000000000:another", False),
        ("https", "https://example.com/", False),
        ("email", "mallory@example.com", False),
        ("lambda", "arn:aws:lambda:us-east-1:000000000000:function:x-mailer", False),
        ("firehose", "arn:aws:firehose:us-east-1:000000000000:deliverystream/x-mailer", False),
    ],
)
@pytest.mark.parametrize("role", ["subscriber", "personal-subscriber"])
def test_a_subscriber_may_subscribe_its_own_queues_only(
    protocol: str, endpoint: str, allowed: bool, role: str
) -> None:
    """Any other endpoint would be an export of all events."""
    topic = "arn:aws:sns:us-east-1:000000000000:user-events"
    asked = {"TopicArn": topic, "Protocol": protocol, "Endpoint": endpoint}
    used = {*uses("Subscribe", urlencode(asked).encode())}
    assert (Policy.of(role, SUBSCRIBER="x-").lacks(used) == []) is allowed


def test_the_restorer_cannot_be_given_the_first_table() -> None:
    """The parameter accepts the table of the runbook, and not that of resources.yaml."""
    parameters = template("access")["Parameters"]
    first = template("resources")["Parameters"]["TableName"]["Default"]
    pattern = parameters["RestoreInto"]["AllowedPattern"]
    accepted = ("none", "users-restored", "users-restored-2", f"{'x' * 247}restored")
    assert all(re.fullmatch(pattern, each) for each in accepted)
    refused = (first, "", "users-copy", f"users-restored/{first}", "*restored")
    assert not any(re.fullmatch(pattern, each) for each in refused)
