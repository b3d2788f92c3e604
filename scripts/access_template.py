"""Writes deploy/access.yaml: the policies of deploy/policies, for the names of a deployed stack.

The policies are written for a reader, with the default names, and REGION, ACCOUNT, KEY and
SUBSCRIBER where an account has its own. The template puts in their place what the stack of
deploy/resources.yaml exports.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[1]
POLICIES: Final = ROOT / "deploy" / "policies"
TEMPLATE: Final = ROOT / "deploy" / "access.yaml"
ROLES: Final = {
    "worker": "What the running worker does.",
    "producer": "What a service does that sends commands.",
    "subscriber": "What a service does that subscribes to events, or waits for answers.",
    "reader": "What a login service does that reads users.",
    "operator": "What a person on call does with the command line, beside sending and `doctor`.",
    "migrator": "What `user-worker migrate` does.",
}
"""Each with its purpose, in one line."""
EXPORTED: Final = {
    "user-commands": "CommandQueueName",
    "user-commands-priority": "PriorityQueueName",
    "user-commands-dlq": "DeadLetterQueueName",
    "user-events": "TopicName",
    "user-events-undelivered": "UndeliveredQueueName",
    "users": "TableName",
}
"""By default name, the export of the resources' stack with the real name."""
KEY: Final = "arn:aws:kms:REGION:ACCOUNT:key/KEY"
PLACES: Final = {
    "arn:aws:": "arn:${AWS::Partition}:",
    "REGION": "${AWS::Region}",
    "ACCOUNT": "${AWS::AccountId}",
    "SUBSCRIBER": "${SubscriberPrefix}",
}
_NAMES = "|".join(sorted(EXPORTED, key=len, reverse=True))
_NAME = re.compile(rf"(?<=[:/])(?:{_NAMES})(?=$|/)")
HEAD: Final = """\
# Made by scripts/access_template.py of deploy/policies: change those, and make it again.
AWSTemplateFormatVersion: "2010-09-09"
Description: What each kind of user of the user worker may do, as managed policies.

Parameters:
  ResourcesStack:
    Type: String
    Default: user-worker-resources
    Description: The stack of resources.yaml.
  SubscriberPrefix:
    Type: String
    Default: user-events-to-
    AllowedPattern: "[A-Za-z0-9_-]{3,60}"
    Description: What the names of subscribers' queues begin with.
  RestoredTable:
    Type: String
    Default: ""
    AllowedPattern: "([A-Za-z0-9_.-]{3,255})?"
    Description: The table in use after a restore - see docs/runbook.md.

Conditions:
  IsRestored: !Not [!Equals [!Ref RestoredTable, ""]]

"""


def exported(name: str) -> dict[str, Any]:
    """Return the reference to an export of the resources' stack, or to its replacement."""
    imported = {"Fn::ImportValue": {"Fn::Sub": f"${{ResourcesStack}}-{name}"}}
    if name == EXPORTED["users"]:
        return {"Fn::If": ["IsRestored", {"Ref": "RestoredTable"}, imported]}
    return imported


def localized(value: Any) -> Any:
    """Insert the account's own names into a part of a policy."""
    if isinstance(value, dict):
        return {name: localized(part) for name, part in value.items()}
    if isinstance(value, list):
        return [localized(part) for part in value]
    if value == KEY:
        return exported("KeyArn")
    if value in EXPORTED:
        return exported(EXPORTED[value])
    return _substituted(value)


def _substituted(text: str) -> Any:
    variables: dict[str, Any] = {}

    def named(match: re.Match[str]) -> str:
        export = EXPORTED[match[0]]
        variables[export] = exported(export)
        return f"${{{export}}}"

    made = _NAME.sub(named, text)
    for place, real in PLACES.items():
        made = made.replace(place, real)
    if made == text:
        return text
    return {"Fn::Sub": [made, variables] if variables else made}


def template() -> str:
    """Return the template's text."""
    resources: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    for role, purpose in ROLES.items():
        logical = f"{role.capitalize()}Policy"
        policy = json.loads((POLICIES / f"{role}.json").read_text())
        resources[logical] = {
            "Type": "AWS::IAM::ManagedPolicy",
            "Properties": {
                "ManagedPolicyName": {"Fn::Sub": f"${{AWS::StackName}}-{role}"},
                "Description": purpose,
                "PolicyDocument": localized(policy),
            },
        }
        outputs[logical] = {
            "Value": {"Ref": logical},
            "Export": {"Name": {"Fn::Sub": f"${{AWS::StackName}}-{logical}"}},
        }
    body = {"Resources": resources, "Outputs": outputs}
    return HEAD + yaml.safe_dump(body, sort_keys=False, width=100)


def main() -> int:
    """Write the template, or check that it is current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if it differs")
    if not parser.parse_args().check:
        TEMPLATE.write_text(template())
        return 0
    if TEMPLATE.read_text() == template():
        return 0
    print(f"{TEMPLATE.relative_to(ROOT)} is not of deploy/policies: make it again", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
