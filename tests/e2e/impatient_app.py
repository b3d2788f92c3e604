"""The worker's own application, which waits one second for a reader of its log, not five."""

from __future__ import annotations

from worker import log_stream
from worker.app import app

log_stream.PATIENCE = 1.0  # type: ignore[misc]

__all__ = ["app"]
