"""How much to run; read when tests are collected, before the suite clears the environment."""

from __future__ import annotations

import os

USUAL_SEEDS = 600
SEEDS = int(os.environ.get("USER_WORKER_CRASH_SEEDS", USUAL_SEEDS))
"""Number of schedules; each takes 8 ms of processor time."""
_one = os.environ.get("USER_WORKER_CRASH_SEED")
ONE_SEED = None if _one is None else int(_one)
"""The only seed to replay, if set."""
