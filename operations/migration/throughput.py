"""Limit the share of a table's capacity that a migration uses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TableDescriptionTypeDef

BURST: Final = 1.0
"""Seconds of unused capacity that may be used at once after a pause."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """Units per second."""

    read: float
    write: float

    def share(self, part: float) -> Throughput:
        """Return a part of the throughput: 0.25 for a quarter."""
        return Throughput(self.read * part, self.write * part)


NEW_ON_DEMAND: Final = Throughput(12_000, 4_000)
"""Initial throughput of an on-demand table; AWS, "DynamoDB on-demand capacity mode"."""


def throughput_of(description: TableDescriptionTypeDef) -> Throughput:
    """Return the throughput of a table, from its description.

    For a provisioned table, it is the provisioned throughput. For an on-demand table, it is the
    warm throughput, up to the table's own maximum. If neither is described, it is that of a new
    table. Writes are also limited by the indexes, which each write may update; reads use the table
    only.
    """
    on_demand = description.get("BillingModeSummary", {}).get("BillingMode") == "PAY_PER_REQUEST"
    table, *indexes = [
        _limit(each, on_demand=on_demand)
        for each in ([description, *description.get("GlobalSecondaryIndexes", [])])
    ]
    writes = [limit.write for limit in (table, *indexes) if limit.write > 0]
    return Throughput(
        table.read if table.read > 0 else NEW_ON_DEMAND.read,
        min(writes, default=NEW_ON_DEMAND.write),
    )


def _limit(described: Any, *, on_demand: bool) -> Throughput:
    """Return the throughput of a table or index; 0 or -1 if there is no limit."""
    if on_demand:
        most = described.get("OnDemandThroughput") or {}
        warm = described.get("WarmThroughput") or {}
        return Throughput(
            _least(most.get("MaxReadRequestUnits"), warm.get("ReadUnitsPerSecond")),
            _least(most.get("MaxWriteRequestUnits"), warm.get("WriteUnitsPerSecond")),
        )
    provisioned = described.get("ProvisionedThroughput") or {}
    return Throughput(
        provisioned.get("ReadCapacityUnits", -1), provisioned.get("WriteCapacityUnits", -1)
    )


def _least(*limits: float | None) -> float:
    return min((limit for limit in limits if limit is not None and limit > 0), default=-1)


class Bucket:
    """Delays calls so that on average at most the given units per second are used.

    The cost of a call is known only from its response. A call may therefore start while the balance
    is not negative, and its cost is subtracted afterwards. Threads may share a bucket.
    """

    def __init__(
        self,
        rate: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Allow `rate` units per second; if `sleep` ends early, the call starts early."""
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._paid_at = clock() - BURST
        """Time at which all used units are paid for."""
        self._lock = threading.Lock()
        self.spent = 0.0

    def wait(self) -> None:
        """Wait until a call may start."""
        with self._lock:
            pause = self._paid_at - self._clock()
        if pause > 0:
            self._sleep(pause)

    def spend(self, units: float) -> None:
        """Subtract the cost of a call."""
        with self._lock:
            self.spent += units
            earliest = self._clock() - BURST
            self._paid_at = max(self._paid_at, earliest) + units / self._rate
