"""Events that SNS refuses by their own error codes delay no others, and are parked.

In full (`USER_WORKER_TEST_FULL=1`) with the default settings of the relay: all good events have to
be out within 90 s. By default its age and interval are short, and so are its delays.
"""

from __future__ import annotations

import time
from uuid import uuid4

import pytest

from application.ports import JobKind
from application.relay import MAX_ATTEMPTS
from tests.e2e.proxy import FaultyProxy, RefusedEvents
from tests.e2e.system import System, event_ids
from tests.e2e.worker_process import eventually
from tests.isolation.entries import FULL, OLD, left_behind, store, tell

pytestmark = [pytest.mark.slow]

REFUSED, GOOD = 22, 60
SETTINGS = {} if FULL else {"RELAY_AGE": "1", "RELAY_INTERVAL": "0.5"}
OUT_WITHIN, PARKED_WITHIN = (90, 180) if FULL else (60, 60)


@pytest.mark.timeout(360)
def test_refused_events_hold_up_no_others_and_are_parked_with_their_reason(system: System) -> None:
    """They are the first entries of all shards, where a relay finds them first."""
    bad = [str(uuid4()) for _ in range(REFUSED)]
    refused, heads = left_behind(bad, age=2 * OLD)
    good, behind = left_behind([str(uuid4()) for _ in range(GOOD)])
    store(system, [*refused, *good], [*heads, *behind])
    with FaultyProxy(system.endpoint) as proxy:
        fault = proxy.inject(RefusedEvents(frozenset(bad)), "PublishBatch")
        with system.worker(endpoint=proxy.url, **SETTINGS) as worker:
            worker.ready()
            began = time.monotonic()
            system.published(good, OUT_WITHIN)
            out = time.monotonic() - began
            eventually(
                lambda: len(system.outbox.status().parked) == REFUSED, PARKED_WITHIN, "parked"
            )
            parked = time.monotonic() - began
    tell(f"{GOOD} good events out after {out:.1f} s, {REFUSED} parked after {parked:.1f} s")
    assert fault.hits
    status = system.outbox.status()
    assert status.pending == 0
    assert {each.kind for each in status.parked} == {JobKind.PUBLISH}
    assert {each.commands[0].user_id for each in status.parked} == set(bad)
    reason = f"failed {MAX_ATTEMPTS} times while others were published: InternalError"
    assert {each.parked_because for each in status.parked} == {reason}
    assert {event["id"] for event in system.events()} == event_ids(good)
