"""What a reader may change: list prices, and users' activity in a month. See `inputs.json`."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.scale.measured import LOGIN, REGISTRATION, ROTATION, UPDATE

DEFAULTS: Final = Path(__file__).with_name("inputs.json")


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars, on demand, without free tiers."""

    write_units_million: float
    read_units_million: float
    storage_gb_month: float
    recovery_gb_month: float
    """For point-in-time recovery."""
    sqs_requests_million: float
    """For a standard queue; a request is up to 64 KiB."""
    sns_requests_million: float
    """For a standard topic; a request is up to 64 KiB, and delivery to SQS is free."""
    vcpu_hour: float
    """For Fargate, Linux on x86."""
    gb_hour: float
    logs_gb: float
    """For CloudWatch Logs, ingestion."""


@dataclass(frozen=True, slots=True)
class Habits:
    """Activity of one user in a month, and its distribution."""

    registrations: float
    """Growth of the number of users, as a share."""
    updates: float
    logins: float
    rotations: float
    """For example, a token lasts an hour, and a user is active for twenty hours."""
    sessions: float
    """Sessions stored at a time."""
    peak: float
    """Ratio of the busiest second to the mean."""
    outcome_days: int

    @property
    def commands(self) -> dict[str, float]:
        """Return the commands per month, by kind."""
        return {
            REGISTRATION: self.registrations,
            UPDATE: self.updates,
            LOGIN: self.logins,
            ROTATION: self.rotations,
        }


@dataclass(frozen=True, slots=True)
class Inputs:
    """All inputs that are not measured."""

    prices: Prices
    habits: Habits

    @classmethod
    def read(cls, file: Path = DEFAULTS) -> Inputs:
        """Read a file like `inputs.json`.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is not JSON, or a value is out of range.
            TypeError: A name is missing or unknown.
            KeyError: A section is missing.
        """
        stored = json.loads(file.read_text())
        read = cls(Prices(**stored["prices"]), Habits(**stored["habits"]))
        for part in (read.prices, read.habits):
            for name, value in asdict(part).items():
                _require_number(name, value)
        if not sum(read.habits.commands.values()) or read.habits.peak < 1:
            raise ValueError("habits: some command has to come, and the peak is at least 1")
        return read


def _require_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value!r}, not a number of at least 0")
