"""Properties of the roles' policies that recording their calls cannot show."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from adapters.sns.subscription import PURPOSES
from scripts import access_template
from tests.deploy.stacks import DEPLOY

MANAGED_POLICY = 6_144
"""Maximum length in characters without blanks (IAM's quotas)."""
TEMPORARY = {f"{purpose}-*" for purpose in PURPOSES}
"""Temporary queues, whose names are not known in advance."""
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
    } - {"sns:Subscribe", "sns:Unsubscribe", "sqs:DeleteQueue"}
    services = {f"{action.partition(':')[0]}.REGION.amazonaws.com" for action in used}
    sends = used & {"sns:Publish", "sqs:SendMessage"}
    for_it = ["kms:Decrypt", *(["kms:GenerateDataKey"] if sends else [])]
    of_the_key = [each for each in statements(role) if "kms:" in json.dumps(each["Action"])]
    assert len(of_the_key) == bool(used)
    for each in of_the_key:
        assert listed(each["Action"]) == for_it
        assert each["Resource"] == access_template.KEY
        assert set(listed(each["Condition"]["StringEquals"]["kms:ViaService"])) == services


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
        if keys:  # otherwise a call without a key is allowed for all keys
            assert condition["Null"] == {"dynamodb:LeadingKeys": "false"}
        assert not {"NotAction", "NotResource", "Principal"} & each.keys()
