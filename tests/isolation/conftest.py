"""Fixtures of the end-to-end tests, for tests of isolation."""

from __future__ import annotations

from tests.e2e.conftest import fifo_system, queues, system

__all__ = ["fifo_system", "queues", "system"]
