"""A worker's health report and its JSON form."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Report:
    """Why a worker is not live, and why it is not ready; both empty if it is healthy."""

    not_live: tuple[str, ...] = ()
    not_ready: tuple[str, ...] = ()

    @property
    def live(self) -> bool:
        """Whether no restart is needed."""
        return not self.not_live

    @property
    def ready(self) -> bool:
        """Whether commands are processed."""
        return not self.reasons

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the worker is not ready; a worker that is not live is not ready either."""
        return self.not_live + self.not_ready

    def render(self) -> str:
        """Return the report as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, fields: Any) -> Self:
        """Parse the decoded JSON of a report.

        Raises:
            ValueError: it is not a report.
        """
        try:
            reasons = fields["not_live"], fields["not_ready"]
        except (KeyError, TypeError):
            raise ValueError("not a report of a worker's health") from None
        if not all(isinstance(each, list) for each in reasons):
            raise ValueError("not a report of a worker's health")
        return cls(*(tuple(map(str, each)) for each in reasons))
