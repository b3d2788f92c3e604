"""A flood of messages of an unknown type does not delay valid commands.

In the full form (USER_WORKER_TEST_FULL=1) there are 5,000 such messages; else 500.
"""

from __future__ import annotations

import json
import os
import threading
import time
from uuid import uuid4

import pytest

from tests.builders import register
from tests.e2e.system import THREADS, Message, System, decided, log_lines, message
from tests.e2e.worker_process import eventually

pytestmark = [pytest.mark.slow]

FULL = bool(os.environ.get("USER_WORKER_TEST_FULL"))
UNKNOWN = 5000 if FULL else 500
RATE = 20
"""Valid commands per second."""
SECONDS = 90 if FULL else 10
"""In the full form, the unknown ones are received a second time within this time."""
P99 = 2.0
"""Seconds."""


def _unknown() -> str:
    body = json.loads(message(register(uuid4().hex), str(uuid4())).body)
    return json.dumps({**body, "type": "biome.user.CongratulateUser.v1"})


@pytest.mark.timeout(240)
def test_good_commands_do_not_wait_for_messages_of_an_unknown_type(system: System) -> None:
    """Their first delay is half a minute to a minute, and they stay on the queue."""
    sent: dict[str, float] = {}
    good: list[Message] = []
    with system.worker(THREADS) as worker:
        worker.ready()
        system.queues.send(*(_unknown() for _ in range(UNKNOWN)))
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            good.append(message(register(uuid4().hex), str(uuid4())))
            sent[good[-1].command_id] = time.time()
            system.send(good[-1])
            threading.Event().wait(1 / RATE)
        system.published(system.outcomes(good, 60), 60)
        eventually(
            lambda: len(log_lines(worker, "message_not_understood")) >= UNKNOWN,
            60,
            "a receive of each unknown message",
        )
        times = {e["causationid"]: e["time"] for e in system.events()}
        assert times.keys() == sent.keys()
        waits = sorted(_seconds(times[command_id]) - began for command_id, began in sent.items())
        p99 = waits[round(len(waits) * 0.99) - 1]
        print(f"p50 {waits[len(waits) // 2]:.2f} s, p99 {p99:.2f} s of {len(waits)}")
        assert {line["receives"] for line in decided(worker)} == {1}
        if FULL:
            assert p99 < P99
        else:
            again = [x for x in log_lines(worker, "message_not_understood") if x["receives"] > 1]
            assert not [x for x in again if x["receives"] > 2]


def _seconds(time_text: str) -> float:
    from datetime import datetime  # noqa: PLC0415

    return datetime.fromisoformat(time_text).timestamp()
