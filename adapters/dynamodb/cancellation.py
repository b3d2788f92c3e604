"""What DynamoDB's cancellation reasons say about one change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from adapters.dynamodb.calls import THROTTLED
from adapters.errors import ItemRefusedError
from application.ports import Conflict, StoreUnavailableError, ThrottledError

CONDITION_FAILED: Final = "ConditionalCheckFailed"
TRANSACTION_CONFLICT: Final = "TransactionConflict"
REFUSED: Final = frozenset({"ItemCollectionSizeLimitExceeded", "ValidationError"})

_BY_WEIGHT: Final = (Conflict.DUPLICATE, Conflict.STALE, Conflict.ADDRESS_TAKEN, *sorted(REFUSED))
"""Of several reasons against one change the first here counts: a command that is recorded
needs nothing more, and one that was decided on old state is decided again whatever else is
wrong. Then come throttling and what is unknown, and last a conflict that may pass by itself."""


def reason_codes(response: dict[str, Any], actions: int) -> list[str] | None:
    """Give a reason code for each action of a cancelled transaction, or `None` if there are none.

    `response` is the error's; code "None" means that nothing is wrong with the action.
    """
    reasons = response.get("CancellationReasons")
    if not isinstance(reasons, list) or len(reasons) != actions:
        return None
    return [str(reason.get("Code", "None")) for reason in reasons]


def verdict(conflicts: Sequence[Conflict], codes: Sequence[str]) -> Conflict | Exception | None:
    """Judge a change by the codes of its actions; `None`: nothing is wrong with it.

    `conflicts` holds, by action, what its failed condition means.
    """
    found = [
        _conflict(conflict, code)
        for conflict, code in zip(conflicts, codes, strict=True)
        if code != "None"
    ]
    if not found:
        return None
    worst = min(found, key=_weight)
    if isinstance(worst, Conflict):
        return worst
    kind = ItemRefusedError if worst in REFUSED else StoreUnavailableError
    if worst in THROTTLED:
        kind = ThrottledError
    return kind(f"DynamoDB TransactWriteItems: {worst}")


def _conflict(conflict: Conflict, code: str) -> Conflict | str:
    if code == CONDITION_FAILED:
        return conflict
    return Conflict.CONTENTION if code == TRANSACTION_CONFLICT else code


def _weight(found: Conflict | str) -> int:
    if found in _BY_WEIGHT:
        return _BY_WEIGHT.index(found)
    return len(_BY_WEIGHT) + (found is Conflict.CONTENTION)
