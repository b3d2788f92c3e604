"""Parse the templates as CloudFormation does, including tags."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import yaml

from tests.deploy.stacks import DEPLOY

NAMES = ("access", "alarms", "console", "endpoints", "queues", "resources", "service")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Parses the short form of functions, such as `!Ref`; in C where PyYAML has it, for speed."""


def _function(loader: _Loader, name: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    return {name if name in {"Ref", "Condition"} else f"Fn::{name}": value}


_Loader.add_multi_constructor("!", _function)


@cache
def template(name: str) -> dict[str, Any]:
    """Parse a template of deploy/, with every function in its long form."""
    loaded: dict[str, Any] = yaml.load((DEPLOY / f"{name}.yaml").read_text(), _Loader)
    return loaded


def properties(name: str, resource: str) -> dict[str, Any]:
    """Return the properties of a resource."""
    found: dict[str, Any] = template(name)["Resources"][resource]["Properties"]
    return found


def of_type(name: str, kind: str) -> dict[str, dict[str, Any]]:
    """Return the resources of a type, by name."""
    resources: dict[str, dict[str, Any]] = template(name)["Resources"]
    return {key: each for key, each in resources.items() if each["Type"] == kind}


_NOTHING = object()
"""Value of `AWS::NoValue`."""


def evaluated(name: str, resource: str, **given: str) -> dict[str, Any]:
    """Return a resource's properties as CloudFormation evaluates them with these parameters.

    An attribute of another resource stays as it is named, `DeadLetterQueue.Arn`.
    """
    parameters = template(name)["Parameters"]
    chosen = {key: given.get(key, each.get("Default")) for key, each in parameters.items()}
    values = {**chosen, "AWS::NoValue": _NOTHING}
    made: dict[str, Any] = _made(properties(name, resource), values, template(name)["Conditions"])
    return made


def _made(part: Any, values: dict[str, Any], conditions: dict[str, Any]) -> Any:  # noqa: C901, PLR0912 - one case per function
    made: Any
    match part:
        case {"Ref": referred}:
            made = values.get(referred, referred)
        case {"Fn::GetAtt": attribute}:
            made = attribute if isinstance(attribute, str) else ".".join(attribute)
        case {"Fn::ImportValue": {"Fn::Sub": name}}:
            made = _exported(name.partition("}-")[2])
        case {"Fn::Equals": [one, other]}:
            made = _made(one, values, conditions) == _made(other, values, conditions)
        case {"Fn::Not": [one]}:
            made = not _made(one, values, conditions)
        case {"Fn::Split": [separator, one]}:
            made = _made(one, values, conditions).split(separator)
        case {"Fn::If": [condition, *branches]}:
            holds = _made(conditions[condition], values, conditions)
            made = _made(branches[0 if holds else 1], values, conditions)
        case {"Fn::Select": [index, {"Fn::Split": [delimiter, text]}]}:
            made = _made(text, values, conditions).split(delimiter)[index]
        case {"Fn::Sub": [text, more]}:
            made = _substituted(text, values | _made(more, values, conditions))
        case {"Fn::Sub": text}:
            made = _substituted(text, values)
        case dict():
            each = {key: _made(value, values, conditions) for key, value in part.items()}
            made = {key: value for key, value in each.items() if value is not _NOTHING}
        case list():
            listed = [_made(each, values, conditions) for each in part]
            made = [each for each in listed if each is not _NOTHING]
        case _:
            made = part
    return made


def _exported(name: str) -> Any:
    """Return an export of another stack, as `evaluated` returns an attribute."""
    outputs = (template(each)["Outputs"] for each in ("resources", "queues", "access", "service"))
    value = next(each[name]["Value"] for each in outputs if name in each)
    return value.get("Ref", value.get("Fn::GetAtt")) if isinstance(value, dict) else value


def _substituted(text: str, values: dict[str, Any]) -> str:
    return re.sub(r"\$\{([\w:]+)\}", lambda found: str(values.get(found[1], found[1])), text)
