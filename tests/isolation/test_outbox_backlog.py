"""After an outage of SNS, the relay publishes the backlog at full speed.

In full (`USER_WORKER_TEST_FULL=1`) these are 6,000 entries with the default settings; on a quiet
machine one worker publishes at least 100 a second.
"""

from __future__ import annotations

from datetime import datetime
from uuid import uuid4

import pytest

from tests.e2e.system import System, event_ids, log_lines
from tests.e2e.worker_process import eventually
from tests.isolation.entries import FULL, left_behind, store, tell

pytestmark = [pytest.mark.e2e, pytest.mark.aws, pytest.mark.slow]

ENTRIES = 6_000 if FULL else 400
SETTINGS = {} if FULL else {"RELAY_INTERVAL": "0.5"}
LEAST_A_SECOND = 20
"""Low, because the machine may be busy."""


@pytest.mark.timeout(1_800 if FULL else 300)
def test_a_backlog_is_worked_off_without_pauses(system: System) -> None:
    """Each event is published once, and the outbox is empty."""
    outcomes, entries = left_behind(str(uuid4()) for _ in range(ENTRIES))
    store(system, outcomes, entries)
    assert system.outbox.status().pending == ENTRIES
    with system.worker(**SETTINGS) as worker:
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
    assert later / seconds >= LEAST_A_SECOND
    system.published(outcomes, 600 if FULL else 120)
    assert set(system.publications()) == event_ids(outcomes)
    assert set(system.publications().values()) == {1}
