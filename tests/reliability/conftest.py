"""What every test here gets: silence, and an ear for what must never be logged."""

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
"""Events that say that the worker met what nobody foresaw: a bug, whatever else went wrong."""


@pytest.fixture(autouse=True)
def alarms() -> Iterator[list[MutableMapping[str, Any]]]:
    """Listen for alarms while the test runs, and fail it if there was one."""
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
