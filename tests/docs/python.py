"""Runs the Python of the pages: a namespace for each page, on an AWS in process."""

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
    "docs/security.md": {"password": "a password that nobody has"},
}
"""What a page's reader has already, by page."""


class World:
    """An AWS with the default queue, topic and table, and what each page has defined so far."""

    def __init__(self) -> None:
        self._aws = mock_aws()
        self._pages: dict[str, dict[str, Any]] = {}
        self._added: dict[str, set[str]] = {}

    def __enter__(self) -> Self:
        """Make what `user-worker provision` makes, as far as a page may need it."""
        self._aws.start()
        boto3.client("sqs").create_queue(QueueName="user-commands")
        boto3.client("sns").create_topic(Name="user-events")
        provision_table(boto3.client("dynamodb"), "users")
        return self

    def __exit__(self, *_: object) -> None:
        """Forget it."""
        self._aws.stop()

    def check(self, block: Block) -> None:
        """Run a block, or look at it as its mark says.

        Raises:
            Exception: whatever it raises, or what shows that it cannot be right.
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
        """Check lines that are to be added to a module: they know every name they use."""
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
    """Parse lines of a module, of a class or function, or of a dictionary."""
    text = textwrap.dedent(text)
    try:
        return ast.parse(text)
    except SyntaxError:
        return ast.parse(f"{{\n{text}\n}}")


def bound(tree: ast.AST) -> set[str]:
    """Give all names that a program binds anywhere."""
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
    """Import what a program imports, and look up what it names in those modules.

    Raises:
        ImportError: a module, or a name to be imported, is not there.
        AttributeError: a module has no such name.
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
