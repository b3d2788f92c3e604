"""Shared fixtures of the tests of the pages."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import docs_site
from tests.docs.pages import ROOT
from tests.docs.python import World


@pytest.fixture(autouse=True)
def _no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code of a page cannot change the home folder of the user who runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Yield the namespaces of the pages' Python, with an AWS in this process."""
    with World() as made:
        yield made


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it strictly: a broken link or anchor, or a page outside the navigation, fails."""
    folder = tmp_path_factory.mktemp("docs")
    docs_site.build(ROOT, folder / "docs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict"],
        cwd=folder / "docs",
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        check=False,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"
