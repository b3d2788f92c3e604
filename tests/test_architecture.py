"""Rules of the layers that import-linter cannot check (its contracts are in pyproject.toml)."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOMAIN = sorted((ROOT / "domain").rglob("*.py"))
CLIENT = "clients/python"
SOURCES = [
    path
    for layer in (
        "domain",
        "application",
        "adapters",
        "worker",
        "operations",
        "cli",
        CLIENT,
    )
    for path in sorted((ROOT / layer).rglob("*.py"))
]

MAKES_CLIENTS = """
import importlib, sys
import botocore.client, botocore.session

def refuse(*args, **kwargs):
    raise SystemExit("a client was made at import of " + module)

botocore.client.ClientCreator.create_client = refuse
botocore.session.Session.create_client = refuse
for module in sys.argv[1:]:
    importlib.import_module(module)
"""


def relative(path: Path) -> str:
    """Return the path from the project's root, to name a test case."""
    return path.relative_to(ROOT).as_posix()


def imported_packages(path: Path) -> Iterator[str]:
    """Yield the top-level names of all imports of a file, including those in functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]
            case ast.Call(func=ast.Name(id="__import__") | ast.Attribute(attr="import_module")):
                yield "an import at run time"


def module_name(path: Path) -> str:
    """Return the name by which a file is imported."""
    name = relative(path).removeprefix(f"{CLIENT}/").removesuffix(".py")
    return name.removesuffix("/__init__").replace("/", ".")


@pytest.mark.parametrize("path", DOMAIN, ids=relative)
def test_the_domain_imports_the_standard_library_only(path: Path) -> None:
    """The business rules outlive every framework, and are tested without one."""
    foreign = set(imported_packages(path)) - sys.stdlib_module_names - {"domain"}
    assert not foreign


@pytest.mark.parametrize("path", DOMAIN, ids=relative)
def test_the_domain_takes_time_and_randomness_as_arguments(path: Path) -> None:
    """The same command on the same state gives the same events at any time."""
    tree = ast.parse(path.read_text())
    called = {
        ast.unparse(node.func).rpartition(".")[2]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    }
    assert not called & {"now", "utcnow", "today", "time", "monotonic", "uuid1", "uuid4", "open"}
    assert not set(imported_packages(path)) & {"os", "random", "secrets", "socket", "threading"}


def test_no_client_is_made_at_import() -> None:
    """Importing any module calls nothing, needs no region, and is safe before a fork."""
    modules = [module_name(path) for path in SOURCES if path.name != "__main__.py"]
    result = subprocess.run(
        [sys.executable, "-c", MAKES_CLIENTS, *modules],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert result.returncode == 0, result.stderr
