"""Run the Python of the pages: a namespace for each page, with an AWS in this process."""

from __future__ import annotations

import ast
import builtins
import importlib
import textwrap
from types import ModuleType
from typing import Any, Final, Self

import boto3
from moto import mock_aws

from adapters.dynamodb.provision import provision_table
from tests.docs.pages import ROOT, Addition, Block

GIVEN: Final[dict[str, dict[str, Any]]] = {
    "docs/explanation/security.md": {"password": "an unknown password"},
}
"""Names that a page's reader already has, by page."""


class World:
    """An AWS with the default queue, topic and table, and the definitions of each page so far."""

    def __init__(self) -> None:
        self._aws = mock_aws()
        self._pages: dict[str, dict[str, Any]] = {}
        self._added: dict[str, set[str]] = {}

    def __enter__(self) -> Self:
        """Create what `user-worker provision` creates, as far as a page needs it."""
        self._aws.start()
        boto3.client("sqs").create_queue(QueueName="user-commands")
        boto3.client("sns").create_topic(Name="user-events")
        provision_table(boto3.client("dynamodb"), "users")
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the AWS."""
        self._aws.stop()

    def check(self, block: Block) -> None:
        """Run a block, or check it as its mark says.

        Raises:
            Exception: What the block raises, or an error that shows that it is wrong.
        """
        if (addition := Addition.of(block)) is not None:
            self._add(block, addition.file)
        elif block.mark.startswith("not run: "):
            resolve(ast.parse(block.text))
        else:
            fresh = {"__name__": "page", **GIVEN.get(block.page, {})}
            namespace = self._pages.setdefault(block.page, fresh)
            exec(compile(block.text, block.where, "exec"), namespace)

    def _add(self, block: Block, path: str) -> None:
        """Check lines to be added to a module: every name that they use is defined."""
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        tree = fragment(block.text)
        added = self._added.setdefault(block.page, set())
        added |= bound(tree)
        known = added | bound(ast.parse((ROOT / path).read_text())) | set(dir(builtins))
        unknown = {each.id for each in ast.walk(tree) if isinstance(each, ast.Name)} - known
        if unknown:
            raise NameError(f"{path} knows no {', '.join(sorted(unknown))}")
        for each in ast.walk(tree):
            if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name):
                owner = getattr(module, each.value.id, None)
                if isinstance(owner, ModuleType) and each.attr not in added:
                    getattr(owner, each.attr)


def fragment(text: str) -> ast.Module:
    """Parse lines of a module, of a class or function, of a match statement or a dictionary."""
    text = textwrap.dedent(text)
    if text.startswith("case "):
        return ast.parse(f"match None:\n{textwrap.indent(text, ' ')}")
    try:
        return ast.parse(text)
    except SyntaxError:
        return ast.parse(f"{{\n{text}\n}}")


def bound(tree: ast.AST) -> set[str]:
    """Return all names that a program binds anywhere."""
    names: set[str] = set()
    for each in ast.walk(tree):
        match each:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.alias(name=name, asname=other):
                names.add(other or name.partition(".")[0])
    return names


def resolve(tree: ast.Module) -> None:
    """Import the imports of a program, and look up the names that it uses of these modules.

    Raises:
        ImportError: A module, or an imported name, does not exist.
        AttributeError: A module has no such name.
    """
    modules: dict[str, object] = {}
    for each in ast.walk(tree):
        match each:
            case ast.Import(names=names):
                for alias in names:
                    module = importlib.import_module(alias.name)
                    modules[alias.asname or alias.name] = module
            case ast.ImportFrom(module=str(name), names=names):
                for alias in names:
                    exec(f"from {name} import {alias.name}", {})
    for each in ast.walk(tree):
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name):
            owner = modules.get(each.value.id)
            if owner is not None:
                getattr(owner, each.attr)
