"""Waits for outcomes to be recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from domain.ports import CommandKey, LoadRequest, Outcome, UserRepository

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 1.0
"""Seconds between two looks, doubled from the one to the other."""


def await_outcomes(
    repository: UserRepository,
    keys: Sequence[CommandKey],
    seconds: float,
    *,
    enough: int | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[CommandKey, Outcome]:
    """Read, consistently, until the keys have outcomes or the time is over; give those found.

    Args:
        repository: where to look.
        keys: whose outcomes.
        seconds: how long to look; with none at all it looks once.
        enough: how many outcomes will do; one for each key if not given.
        sleep: waits some seconds.
    """
    enough = len(set(keys)) if enough is None else enough
    deadline = time.monotonic() + seconds
    found: dict[CommandKey, Outcome] = {}
    pause = FIRST_PAUSE
    while True:
        found |= repository.load(LoadRequest(outcomes=set(keys) - found.keys())).outcomes
        left = deadline - time.monotonic()
        if len(found) >= enough or left <= 0:
            return found
        sleep(min(pause, left))
        pause = min(2 * pause, LONGEST_PAUSE)
