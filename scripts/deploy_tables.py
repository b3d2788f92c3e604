"""Render the lists of docs/reference/alarms.md and docs/reference/iam.md from deploy/."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from scripts.access_template import POLICIES, ROLES

ROOT: Final = Path(__file__).parents[1]
ALARMS: Final = ROOT / "deploy" / "alarms.yaml"
RUNBOOK: Final = "../how-to/runbook.md"

# --- alarms ----------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """Parses a template of CloudFormation, with functions such as `!Ref` in their long form."""


def _function(loader: _Loader, name: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _function)


def alarms() -> str:
    """Return the alarms by severity: condition, with a link to the meaning in the runbook.

    Alarms of two queues or topics with the same condition share a line.
    """
    template = yaml.load(ALARMS.read_text(encoding="utf-8"), _Loader)  # noqa: S506  # a SafeLoader
    resources = template["Resources"]
    patterns = {
        transformation["MetricName"]: each["Properties"]["FilterPattern"]
        for each in resources.values()
        if each["Type"] == "AWS::Logs::MetricFilter"
        for transformation in each["Properties"]["MetricTransformations"]
    }
    found: dict[tuple[str, str, str], list[str]] = {}
    for name, each in resources.items():
        if each["Type"] == "AWS::CloudWatch::Alarm":
            alarm = each["Properties"]
            severity, _, text = alarm["AlarmDescription"]["Sub"].strip().partition(": ")
            _, _, heading = text.partition(" ${RunbookUrl}#")
            condition = _condition_of(alarm, template["Parameters"], patterns)
            found.setdefault((severity, heading, condition), []).append(f"`{name}`")
    sections = {"Critical": "", "Warning": ""}
    for (severity, heading, condition), names in found.items():
        sections[severity] += f"- [{', '.join(names)}]({RUNBOOK}#{heading}): {condition}.\n"
    return "".join(f"\n## {severity}\n\n{text}" for severity, text in sections.items()) + "\n"


def _condition_of(alarm: Any, parameters: Any, patterns: dict[str, str]) -> str:
    """Return the condition of an alarm in words."""
    threshold = alarm["Threshold"]
    if isinstance(threshold, dict):
        threshold = f"`{threshold['Ref']}` ({parameters[threshold['Ref']]['Default']})"
    sign = "<" if alarm["ComparisonOperator"] == "LessThanThreshold" else "≥"
    return f"{_metric(alarm, patterns)} {sign} {threshold} {_duration(alarm)}"


def _metric(alarm: Any, patterns: dict[str, str]) -> str:
    """Return what an alarm observes: a metric, the label of an expression, or log lines."""
    for query in alarm.get("Metrics", ()):
        if query["ReturnData"]:
            return str(query["Label"])
    name = alarm["MetricName"]
    if name in patterns:
        words = " or ".join(f"`{word}`" for word in re.findall(r'"(\w+)"', patterns[name]))
        return f"log lines {words}"
    return f"`{name}`"


def _duration(alarm: Any) -> str:
    """Return in how many minutes the condition must hold."""
    periods = alarm["EvaluationPeriods"]
    minutes = periods * alarm.get("Period", 60) // 60
    datapoints = alarm.get("DatapointsToAlarm", periods)
    if datapoints < periods:
        return f"in {datapoints} of {minutes} minutes"
    return "in a minute" if minutes == 1 else f"for {minutes} minutes"


# --- IAM -------------------------------------------------------------------------------------

USED_BY: Final = {
    "worker": "the worker's tasks; beside operator, for `user-worker doctor`",
    "subscriber": "services that subscribe to events without addresses, or wait for outcomes",
    "personal-subscriber": "mailers, and other services that need addresses",
    "reader": "login services, which read password hashes and second factors",
    "reader-without-credentials": "all other services that read users",
    "operator": "a person on call, with every other command; add a producer's policy to send",
    "console": "`user-worker console`",
    "console-write": "`user-worker console --write`, beside console",
    "exporter": "`user-worker export`, and the console's export; attach it temporarily",
    "migrator": "`user-worker migrate`, as a job",
    "restorer": "a person who restores the table; its `RESTORED` is the parameter `RestoreInto`",
    "break-glass": "a person who redrives redacted dead letters, beside operator",
}
"""Users of the policy of each role."""
_SERVICES: Final = {"sqs": "queue", "sns": "topic", "dynamodb": "table", "kms": "key"}


def iam() -> str:
    """Return a part for each policy: who uses it, and its actions on each resource."""
    parts: list[str] = []
    earlier: dict[str, list[str]] = {}
    for role in ROLES:
        policy = json.loads((POLICIES / f"{role}.json").read_text(encoding="utf-8"))
        lines = list(_permissions(policy["Statement"]))
        base = next((name for name, each in earlier.items() if {*each} < {*lines}), None)
        shown = [line for line in lines if base is None or line not in earlier[base]]
        if base is not None and len(earlier[base]) > 1:
            shown.insert(0, f"all of [{base}](#{base})")
        else:
            shown = lines
        earlier[role] = lines
        text = "".join(f"- {line}\n" for line in shown)
        parts.append(f"## {role}\n\nFor {USED_BY[role]}.\n\n{text}")
    return "\n" + "\n".join(parts) + "\n"


def _permissions(statements: list[Any]) -> Iterator[str]:
    """Yield a line for all resources of a service on which the same actions are allowed."""
    allowed: dict[tuple[str, str], dict[str, list[str]]] = {}
    for statement in statements:
        actions = _listed(statement["Action"])
        service = actions[0].partition(":")[0]
        condition = _condition(statement.get("Condition", {}))
        for resource in _listed(statement["Resource"]):
            of_resource = allowed.setdefault((service, _name(resource)), {})
            of_resource.setdefault(condition, []).extend(each.partition(":")[2] for each in actions)
    lines: dict[tuple[str, str], list[str]] = {}
    for (service, name), by_condition in allowed.items():
        text = "; ".join(
            ", ".join(sorted({*actions})) + condition for condition, actions in by_condition.items()
        )
        lines.setdefault((service, text), []).append(name)
    for (service, text), names in lines.items():
        plural = "s" if len(names) > 1 else ""
        yield f"{_SERVICES[service]}{plural} {', '.join(names)}: {text}"


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _name(resource: str) -> str:
    """Return the part of an ARN after the account, without the kind of the resource."""
    name = resource.rpartition(":")[2].removeprefix("table/").removeprefix("key/")
    return f"`{name}`"


def _condition(condition: Any) -> str:
    """Return the limits of a statement in words; the page describes those of keys."""
    values = {key: value for each in condition.values() for key, value in each.items()}
    limits = []
    for operator, each in condition.items():
        if operator == "Null":
            continue
        if "dynamodb:LeadingKeys" in each:
            keys = ", ".join(f"`{key}`" for key in each["dynamodb:LeadingKeys"])
            limits.append(f"`LeadingKeys` {keys}")
        if "dynamodb:Attributes" in each:
            limits.append(f"{len(each['dynamodb:Attributes'])} `Attributes`")
    if "sns:Endpoint" in values:
        limits.append(f"for {', '.join(_name(each) for each in _listed(values['sns:Endpoint']))}")
    return f" ({', '.join(limits)})" if limits else ""
