"""No test waits for botocore's back-off."""

from __future__ import annotations

from types import SimpleNamespace

import pytest


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the seconds that botocore would have slept, in order."""
    slept: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=slept.append))
    return slept
