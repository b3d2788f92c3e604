"""Which traces are recorded: decided before a span is made, as most are not."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from typing import Final

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

SAMPLER, RATIO = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
PARENT_BASED: Final = "parentbased_"
_LOW_64_BITS: Final = (1 << 64) - 1
"""What OpenTelemetry's sampler by ratio looks at."""


class Sampling:
    """One of OpenTelemetry's samplers, which answers by yes or no and makes nothing."""

    def __init__(self, ratio: float = 1.0, *, parent_based: bool = True) -> None:
        """Take that part of traces; where it is parent-based, of those that begin here."""
        self._bound = round(ratio * (_LOW_64_BITS + 1))
        self._parent_based = parent_based

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Sampling:
        """Read OTEL_TRACES_SAMPLER and its argument, which were checked before."""
        name = environment.get(SAMPLER, "").strip().lower() or f"{PARENT_BASED}always_on"
        ratio = {"always_on": 1.0, "always_off": 0.0}.get(name.removeprefix(PARENT_BASED))
        if ratio is None:
            ratio = float(environment.get(RATIO, "").strip() or 1)
        return cls(ratio, parent_based=name.startswith(PARENT_BASED))

    def takes(self, trace_id: int, *, parent: bool | None = None) -> bool:
        """Say whether a trace is recorded; `parent` is whether its producer does, if it has one."""
        if self._parent_based and parent is not None:
            return parent
        return trace_id & _LOW_64_BITS < self._bound


class ChosenIds(RandomIdGenerator):
    """Gives a new trace the id by which it was decided that it is recorded."""

    def __init__(self) -> None:
        """Have chosen none."""
        self._chosen = threading.local()

    def choose(self) -> int:
        """Give an id, which the next trace that this thread begins will have."""
        self._chosen.trace_id = trace_id = random.getrandbits(128) or 1
        return trace_id

    def generate_trace_id(self) -> int:
        """Give the id that was chosen last, once, or a random one."""
        chosen: int | None = getattr(self._chosen, "trace_id", None)
        self._chosen.trace_id = None
        return chosen or super().generate_trace_id()
