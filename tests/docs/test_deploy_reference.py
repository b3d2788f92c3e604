"""docs/reference/alarms.md and iam.md have everything that the templates and policies have."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from scripts.access_template import ROLES
from scripts.deploy_tables import USED_BY
from tests.deploy.templates import of_type

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
ALARMS = of_type("alarms", "AWS::CloudWatch::Alarm")
IAM = dict(
    re.findall(
        r"^## ([\w-]+)\n(.*?)(?=^## |\Z)",
        (REFERENCE / "iam.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
)
POLICIES = {
    path.stem: json.loads(path.read_text())["Statement"]
    for path in (ROOT / "deploy" / "policies").glob("*.json")
}


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_is_listed_under_its_severity_with_a_link_to_its_procedure(name: str) -> None:
    """The heading of the link is that of the alarm's description."""
    described = ALARMS[name]["Properties"]["AlarmDescription"]["Fn::Sub"]
    severity, _, anchor = re.sub(r": .*#", "::", " ".join(described.split())).partition("::")
    _, _, listed = (REFERENCE / "alarms.md").read_text().partition(f"\n## {severity}\n")
    line = next(line for line in listed.split("\n## ")[0].splitlines() if f"`{name}`" in line)
    assert f"](../how-to/runbook.md#{anchor})" in line


def test_a_condition_names_threshold_and_duration() -> None:
    """The three forms: a metric, an expression, and lines of the log."""
    page = (REFERENCE / "alarms.md").read_text()
    assert "`ApproximateAgeOfOldestMessage` ≥ `OldestCommandSeconds` (300) for 5 minutes." in page
    assert "Throttled reads and writes a minute ≥ 100 in 3 of 5 minutes." in page
    assert "log lines `message_not_permitted` ≥ 1 in a minute." in page
    assert "`RunningTaskCount` < `MinTasks` (2) for 5 minutes." in page


def test_every_policy_has_a_part_and_a_user() -> None:
    """A new policy without a purpose fails here."""
    assert list(IAM) == list(ROLES) == list(USED_BY)
    assert IAM.keys() == POLICIES.keys()


@pytest.mark.parametrize("role", sorted(POLICIES))
def test_a_part_lists_the_actions_of_its_policy_on_each_resource(role: str) -> None:
    """An action is in a line that names the resource, and no line has another action."""
    shown = IAM[role]
    for base in re.findall(r"^- all of \[([\w-]+)\]", shown, re.MULTILINE):
        shown += IAM[base]
    listed: set[tuple[str, str]] = set()
    for names, actions in re.findall(r"^- \w+ (`.*?`): (.*)$", shown, re.MULTILINE):
        without_conditions = re.sub(r" \([^)]*\)", "", actions)
        for name in re.findall(r"`([^`]+)`", names):
            listed |= {(name, action) for action in re.findall(r"\w+", without_conditions)}
    allowed = set()
    for statement in POLICIES[role]:
        resources, actions = statement["Resource"], statement["Action"]
        for resource in [resources] if isinstance(resources, str) else resources:
            name = re.sub(r".*:(table/|key/)?", "", resource)
            for action in [actions] if isinstance(actions, str) else actions:
                allowed.add((name, action.partition(":")[2]))
    assert listed == allowed


def test_conditions_on_keys_attributes_and_subscriptions_are_shown() -> None:
    """They limit what an action may read, write or subscribe."""
    assert "BatchWriteItem, DeleteItem, PutItem (`LeadingKeys` `OUTBOX#*`)" in IAM["operator"]
    assert re.search(r"BatchGetItem, Query \(\d+ `Attributes`\)", IAM["console"])
    assert "Subscribe (for `SUBSCRIBER*`, `user-outcomes-*`)" in IAM["subscriber"]


@pytest.mark.parametrize("role", sorted(POLICIES))
def test_a_key_is_permitted_through_services_only(role: str) -> None:
    """The page says so above the list."""
    for statement in POLICIES[role]:
        if "kms" in str(statement["Action"]):
            assert "kms:ViaService" in str(statement["Condition"])
