"""Shared fixtures of the tests of the pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
