"""How much to run; read when the tests are collected, before the suite clears the environment."""

from __future__ import annotations

import os

USUAL_SEEDS = 600
SEEDS = int(os.environ.get("USER_WORKER_CRASH_SEEDS", USUAL_SEEDS))
"""Schedules, of 8 ms of processor time each."""
_one = os.environ.get("USER_WORKER_CRASH_SEED")
ONE_SEED = None if _one is None else int(_one)
"""The one to replay."""
