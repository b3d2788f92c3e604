"""Check that each test compares the policies that it is marked with, and no other, with calls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.roles import CHECKED


@pytest.fixture(autouse=True)
def _marked_policies_are_checked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compare the mark `policies` of a test that passed with what it has checked."""
    CHECKED.clear()
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed == failed:
        marks = request.node.iter_markers("policies")
        assert {name for mark in marks for name in mark.args} == CHECKED
