"""Reads the templates as CloudFormation does, tags and all."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml

from tests.deploy.stacks import DEPLOY

NAMES = ("access", "alarms", "endpoints", "resources", "service")


class _Loader(yaml.SafeLoader):
    """Understands the short form of functions, `!Ref` and the like."""


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
    """Read a template of deploy/, with every function in its long form."""
    loaded: dict[str, Any] = yaml.load((DEPLOY / f"{name}.yaml").read_text(), _Loader)
    return loaded


def properties(name: str, resource: str) -> dict[str, Any]:
    """Give the properties of a resource."""
    found: dict[str, Any] = template(name)["Resources"][resource]["Properties"]
    return found


def of_type(name: str, kind: str) -> dict[str, dict[str, Any]]:
    """Give the resources of a type, by name."""
    resources: dict[str, dict[str, Any]] = template(name)["Resources"]
    return {key: each for key, each in resources.items() if each["Type"] == kind}
