"""A worker's health report."""

from __future__ import annotations

from dataclasses import dataclass


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
