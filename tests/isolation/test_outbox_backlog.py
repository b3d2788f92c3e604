"""After an outage of SNS, the relay publishes the backlog without a pause between its passes.

How fast it is depends on the machine. In full (`USER_WORKER_TEST_FULL=1`), on a quiet machine, one
worker has to publish 6,000 entries at 100 a second, with the default settings.
"""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from uuid import uuid4

import pytest

from tests.e2e.system import System, event_ids, log_lines
from tests.e2e.worker_process import eventually
from tests.isolation.entries import FULL, left_behind, store, tell
from worker.settings import Settings

pytestmark = [pytest.mark.slow]

ENTRIES = 6_000 if FULL else 400
INTERVAL = Settings().relay_interval if FULL else 12.0
LEAST_PAUSE = 0.5 * INTERVAL
"""Seconds: the shortest pause that the relay makes when it is not in a hurry."""
LEAST_A_SECOND = 100
"""For the trial in full."""


@pytest.mark.timeout(1_800 if FULL else 300)
def test_a_backlog_is_worked_off_without_pauses(system: System) -> None:
    """Each event is published once, and the outbox is empty."""
    outcomes, entries = left_behind(str(uuid4()) for _ in range(ENTRIES))
    store(system, outcomes, entries)
    assert system.outbox.status().pending == ENTRIES
    with system.worker(RELAY_INTERVAL=str(INTERVAL)) as worker:
        worker.ready()
        eventually(
            lambda: system.outbox.status().pending == 0, 900 if FULL else 120, "an empty outbox"
        )
        lines = eventually(lambda: log_lines(worker, "relayed"), what="the relay's lines")
    assert sum(line["pointers"] for line in lines) == ENTRIES
    times = [datetime.fromisoformat(line["timestamp"]) for line in lines]
    seconds = (times[-1] - times[0]).total_seconds()
    later = ENTRIES - lines[0]["pointers"]
    tell(f"{later} entries in {seconds:.1f} s: {later / seconds:.0f} a second")
    assert max((after - before).total_seconds() for before, after in pairwise(times)) < LEAST_PAUSE
    assert not FULL or later / seconds >= LEAST_A_SECOND
    system.published(outcomes, 600 if FULL else 120)
    assert set(system.publications()) == event_ids(outcomes)
    assert set(system.publications().values()) == {1}
