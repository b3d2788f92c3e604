"""The oldest Node that the TypeScript client supports is the same in packages, tests and pages."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
OLDEST = 22


@pytest.mark.parametrize("folder", ["clients/typescript", "examples/node"])
def test_the_packages_require_it(folder: str) -> None:
    """An older one leads to a warning of npm."""
    for name in ("package.json", "package-lock.json"):
        content = json.loads((ROOT / folder / name).read_text())
        package = content.get("packages", {}).get("", content)
        assert package["engines"] == {"node": f">={OLDEST}"}, name


def test_the_client_is_compiled_and_tested_for_it() -> None:
    """Its types are those of that Node, which also runs its tests."""
    client = json.loads((ROOT / "clients" / "typescript" / "package.json").read_text())
    assert client["devDependencies"]["@types/node"].startswith(f"^{OLDEST}.")
    tests = json.loads((ROOT / "tests" / "node_oldest" / "package.json").read_text())
    assert {each.split(".")[0] for each in tests["optionalDependencies"].values()} == {str(OLDEST)}


@pytest.mark.parametrize(
    "page", ["clients/typescript/README.md", "docs/how-to/sending.md", "examples/README.md"]
)
def test_the_pages_name_it(page: str) -> None:
    """A reader finds one version."""
    named = re.findall(r"Node\s+(\d+)[\d.]* or later", (ROOT / page).read_text())
    assert named == [str(OLDEST)]
