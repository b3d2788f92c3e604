"""Fixtures that skip botocore's own delays between retries."""

from __future__ import annotations

from types import SimpleNamespace

import pytest


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds that botocore would have slept, in order."""
    slept: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=slept.append))
    return slept
