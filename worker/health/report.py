"""What a worker says of its health, and the words that it travels in."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Report:
    """Why a worker does not live, and why it is not ready; nothing if it does and is."""

    not_live: tuple[str, ...] = ()
    not_ready: tuple[str, ...] = ()

    @property
    def live(self) -> bool:
        """Whether it need not be restarted."""
        return not self.not_live

    @property
    def ready(self) -> bool:
        """Whether it gets commands done."""
        return not self.reasons

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not ready: what does not live is not ready either."""
        return self.not_live + self.not_ready

    def render(self) -> str:
        """Write it as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, fields: Any) -> Self:
        """Read what was rendered, once JSON has been made of it.

        Raises:
            ValueError: it is something else.
        """
        try:
            reasons = fields["not_live"], fields["not_ready"]
        except (KeyError, TypeError):
            raise ValueError("no report of a worker's health") from None
        if not all(isinstance(each, list) for each in reasons):
            raise ValueError("no report of a worker's health")
        return cls(*(tuple(map(str, each)) for each in reasons))
