"""How much of a table's capacity a migration may use, and keeping to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TableDescriptionTypeDef

BURST: Final = 1.0
"""Seconds' worth of units that may be used at once after a pause."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """Units a second."""

    read: float
    write: float

    def share(self, part: float) -> Throughput:
        """Give a part of it: 0.25 for a quarter."""
        return Throughput(self.read * part, self.write * part)


NEW_ON_DEMAND: Final = Throughput(12_000, 4_000)
"""What a new on-demand table takes at once; AWS, "DynamoDB on-demand capacity mode"."""


def throughput_of(description: TableDescriptionTypeDef) -> Throughput:
    """Give what a table takes a second, by its description.

    Of a provisioned table what is provisioned; of one on demand what it is warm for, and no more
    than its own maximum; where it tells neither, what a new one takes. Writes are no more than
    its indexes take, which take a part in them; reads are the table's alone.
    """
    table, *indexes = [
        _limit(each, on_demand=_is_on_demand(description))
        for each in ([description, *description.get("GlobalSecondaryIndexes", [])])
    ]
    writes = [limit.write for limit in (table, *indexes) if limit.write > 0]
    return Throughput(
        table.read if table.read > 0 else NEW_ON_DEMAND.read,
        min(writes, default=NEW_ON_DEMAND.write),
    )


def _is_on_demand(description: TableDescriptionTypeDef) -> bool:
    return description.get("BillingModeSummary", {}).get("BillingMode") == "PAY_PER_REQUEST"


def _limit(described: Any, *, on_demand: bool) -> Throughput:
    """Give what a table or index takes; 0 or -1 where there is no limit."""
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
    """Holds back calls so that on average no more units are used than so many a second.

    What a call costs is known when it is answered: so a call goes out while the account is not
    overdrawn, and what it cost is taken off then. Threads may share one.
    """

    def __init__(
        self,
        rate: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Allow `rate` units a second; `sleep` may end early, and then the call goes out."""
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._paid_at = clock() - BURST
        """When all that was used is paid for."""
        self._lock = threading.Lock()
        self.spent = 0.0

    def wait(self) -> None:
        """Wait until a call may go out."""
        with self._lock:
            pause = self._paid_at - self._clock()
        if pause > 0:
            self._sleep(pause)

    def spend(self, units: float) -> None:
        """Take off what a call cost."""
        with self._lock:
            self.spent += units
            earliest = self._clock() - BURST
            self._paid_at = max(self._paid_at, earliest) + units / self._rate
