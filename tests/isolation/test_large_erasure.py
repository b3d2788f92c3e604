"""The erasure of a user with a long history does not delay other users' events.

In full (`USER_WORKER_TEST_FULL=1`) the user has 10,000 outcomes, and the settings are the defaults:
eight events that were left behind on eight shards must be published within 45 s. By default there
are fewer outcomes, and each takes longer.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from uuid import uuid4

import pytest

from application.ports import JobKind
from tests.e2e.proxy import FaultyProxy, Slow
from tests.e2e.system import System
from tests.e2e.worker_process import eventually
from tests.isolation.entries import FULL, decided, entry, left_behind, store, tell

pytestmark = [pytest.mark.slow]

OUTCOMES = 10_000 if FULL else 600
UPDATE_SECONDS = 0.0 if FULL else 0.05
"""Delay of each update."""
SETTINGS = {} if FULL else {"RELAY_AGE": "5", "RELAY_INTERVAL": "0.5"}
OUT_WITHIN = 45


def unscrubbed(system: System, user: str) -> int:
    """Count the outcomes that still have a fingerprint."""
    return sum(each.fingerprint != "" for each in system.repository.history(user, limit=OUTCOMES))


@pytest.mark.timeout(1_800 if FULL else 300)
@pytest.mark.parametrize("workers", [1, 2])
def test_events_are_published_while_a_large_user_is_scrubbed(system: System, workers: int) -> None:
    """Two workers take turns and do not do the work twice."""
    user = str(uuid4())
    past = [decided(user) for _ in range(OUTCOMES)]
    store(system, past, [entry(JobKind.SCRUB, 3, past[0])])
    with ExitStack() as running:
        proxy = running.enter_context(FaultyProxy(system.endpoint))
        if UPDATE_SECONDS:
            proxy.inject(Slow(UPDATE_SECONDS), "UpdateItem")
        for _ in range(workers):
            running.enter_context(system.worker(endpoint=proxy.url, **SETTINGS)).ready()
        eventually(lambda: proxy.calls["UpdateItem"] > 0, 60, "a scrub under way")
        began = time.monotonic()
        outcomes, entries = left_behind(str(uuid4()) for _ in range(8))
        store(system, outcomes, entries)
        system.published(outcomes, OUT_WITHIN)
        out = time.monotonic() - began
        left = unscrubbed(system, user)
        patience = 900 if FULL else 120
        eventually(lambda: system.outbox.status().scheduled == 1, patience, "the second scrub")
        done = time.monotonic() - began
        updates = proxy.calls["UpdateItem"]
    tell(
        f"{workers} workers, {OUTCOMES} outcomes: events out after {out:.1f} s with {left} outcomes"
        f" left; scrubbed after {done:.1f} s by {updates} updates"
    )
    assert left > 0, "the scrub was over before the events were out: nothing is shown"
    assert OUTCOMES <= updates <= 1.6 * OUTCOMES  # twice, if both did all of it
    assert unscrubbed(system, user) == 0
    assert system.outbox.status().pending == 0
