"""Fixtures for every test here: logging is silent, and some log events fail the test."""

from __future__ import annotations

import logging
from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
import structlog

ALARMS = frozenset(
    {
        *("batch_failed", "parse_failed", "publish_failed"),
        *("relay_failed", "outbox_pointer_failed", "settler_stumbled"),
    }
)
"""Log events of unexpected errors. They are bugs of the worker, whatever else failed."""


@pytest.fixture(autouse=True)
def alarms() -> Iterator[list[MutableMapping[str, Any]]]:
    """Collect alarms while the test runs, and fail the test if there was one."""
    heard: list[MutableMapping[str, Any]] = []

    def listen(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if event["event"] in ALARMS:
            heard.append(structlog.processors.format_exc_info(None, "", event))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[listen], wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR)
    )
    yield heard
    structlog.configure(**before)
    assert not heard, f"the worker was surprised: {heard[0]}"
