"""`user-worker health`: show the health of the workers on this machine.

It is made for frequent probes: it reads files, and imports neither Celery nor the AWS SDK.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from worker.errors import ExitCode
from worker.health.heartbeat import Heartbeat, HeartbeatError, directory, heartbeats

NONE = "no worker of this user is running here, or it has not started yet"


def show_health(*, live_only: bool, as_json: bool) -> int:
    """Print a line for each worker; return 0 if there is at least one and all are healthy."""
    try:
        found = heartbeats(directory())
    except HeartbeatError as error:
        sys.stderr.write(f"error: {error}\n")
        return ExitCode.ENVIRONMENT
    for beat in found:
        sys.stdout.write((_as_json(beat) if as_json else _line(beat, live_only=live_only)) + "\n")
    if not found:
        sys.stderr.write(f"{NONE}\n")
    well = [beat.health.live if live_only else beat.health.ready for beat in found]
    return ExitCode.OK if well and all(well) else ExitCode.NEGATIVE


def _line(beat: Heartbeat, *, live_only: bool) -> str:
    health = beat.health
    reasons = health.not_live if live_only else health.reasons
    state = f"{'live' if health.live else 'not live'}"
    if not live_only:
        state += f", {'ready' if health.ready else 'not ready'}"
    return f"worker {beat.pid}: {state}{': ' if reasons else ''}{'; '.join(reasons)}"


def _as_json(beat: Heartbeat) -> str:
    health = beat.health
    fields = {"pid": beat.pid, "live": health.live, "ready": health.ready}
    return json.dumps({**fields, "seconds": round(beat.age, 1), **asdict(health)})
