"""The worker's own application with health limits of a few seconds, so that a test can wait."""

from __future__ import annotations

from tests.e2e.health_limits import LONGEST_BATCH, LOOP_LIMIT, STALLED_AFTER
from worker.app import app
from worker.health import assessment, reporter, step
from worker.transport import acknowledger, channel

LIMITS: tuple[tuple[object, str, float], ...] = (
    (reporter, "INTERVAL", 0.1),
    (step, "INTERVAL", 0.5),
    (assessment, "LOOP_LIMIT", LOOP_LIMIT),
    (channel, "LONGEST_BATCH", LONGEST_BATCH),
    (channel, "MAX_RENEWED_TIMEOUTS", 0),
    (channel, "STALLED_AFTER", STALLED_AFTER),
    (acknowledger, "STALLED_AFTER", STALLED_AFTER),
)
for module, name, value in LIMITS:
    setattr(module, name, value)

__all__ = ["app"]
