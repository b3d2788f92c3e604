"""The system's clock."""

from __future__ import annotations

from datetime import UTC, datetime

from domain.ports import Clock


class SystemClock(Clock):
    """The machine's time."""

    def now(self) -> datetime:
        """Give the present time in UTC, in whole milliseconds: what is stored reads back equal."""
        now = datetime.now(UTC)
        return now.replace(microsecond=now.microsecond // 1000 * 1000)
