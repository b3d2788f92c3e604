"""The worker's own application with limits of seconds, so that a test can wait for them."""

from __future__ import annotations

from tests.e2e.health_limits import LONGEST_BATCH, LOOP_LIMIT, STALLED_AFTER
from worker.app import app
from worker.health import assessment as vitals
from worker.health import reporter as heart
from worker.transport import acknowledger as settler
from worker.transport import channel

LIMITS: tuple[tuple[object, str, float], ...] = (
    (heart, "INTERVAL", 0.1),
    (vitals, "LOOP_LIMIT", LOOP_LIMIT),
    (channel, "LONGEST_BATCH", LONGEST_BATCH),
    (channel, "MAX_RENEWED_TIMEOUTS", 0),
    (channel, "STALLED_AFTER", STALLED_AFTER),
    (settler, "STALLED_AFTER", STALLED_AFTER),
)
for module, name, value in LIMITS:
    setattr(module, name, value)

__all__ = ["app"]
