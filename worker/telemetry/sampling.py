"""Which traces are recorded: decided before a span is made, as most are not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

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
