from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = ("domain", "adapters", "worker")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The project as it would be installed; built from a copy, so that the tree stays clean."""
    source = tmp_path_factory.mktemp("source")
    for layer in LAYERS:
        shutil.copytree(ROOT / layer, source / layer, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    subprocess.run(
        [*command, "--no-build-isolation", "--wheel-dir", str(source), str(source)],
        check=True,
        timeout=50,
    )
    return zipfile.ZipFile(next(source.glob("*.whl")))


def test_the_wheel_holds_every_module(wheel: zipfile.ZipFile) -> None:
    """What runs from the tree runs from the image too: no package is left out."""
    modules = {
        path.relative_to(ROOT).as_posix()
        for layer in LAYERS
        for path in (ROOT / layer).rglob("*.py")
    }
    assert modules - set(wheel.namelist()) == set()


def test_the_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    """Neither tests nor benchmarks get into the image."""
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(LAYERS)


def test_the_wheel_brings_the_command(wheel: zipfile.ZipFile) -> None:
    """`user-worker` is there after an installation."""
    entry_points = next(name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    assert "user-worker = worker.cli:main" in wheel.read(entry_points).decode()
