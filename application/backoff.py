"""Delays between attempts: exponential, capped, with jitter."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

Draw: TypeAlias = Callable[[float, float], float]
"""Returns a random number between two bounds, as `random.uniform` does."""
HALF: Final = 0.5
_MAX_DOUBLINGS: Final = 62
"""Larger powers of two would only overflow."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """A delay that doubles with every failed attempt. All times are in seconds."""

    base: float
    """Delay after the first failed attempt, before jitter."""
    cap: float = float("inf")
    """Maximum delay."""
    fixed: float = 0.0
    """Part of a delay that is not random: 0 for full jitter, `HALF` for half."""
    draw: Draw = random.uniform

    def ceiling(self, attempt: int) -> float:
        """Return the delay after failed attempt number `attempt`, from 1, without jitter."""
        factor: int = 2 ** min(max(attempt - 1, 0), _MAX_DOUBLINGS)
        return min(self.base * factor, self.cap)

    def delay(self, attempt: int) -> float:
        """Return the delay after failed attempt number `attempt`, from 1."""
        ceiling = self.ceiling(attempt)
        return self.draw(self.fixed * ceiling, ceiling)
