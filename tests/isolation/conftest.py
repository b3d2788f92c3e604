"""Fixtures of the end-to-end systems, for the isolation tests."""

from __future__ import annotations

from tests.e2e.conftest import fifo_system, queues, system

__all__ = ["fifo_system", "queues", "system"]
