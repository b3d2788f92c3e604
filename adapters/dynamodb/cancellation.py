"""Map DynamoDB's cancellation reasons to the result of one change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from adapters.dynamodb.calls import THROTTLED
from adapters.errors import ItemRefusedError
from application.ports import StoreUnavailableError, ThrottledError
from application.repository import Conflict

CONDITION_FAILED: Final = "ConditionalCheckFailed"
TRANSACTION_CONFLICT: Final = "TransactionConflict"
REFUSED: Final = frozenset({"ItemCollectionSizeLimitExceeded", "ValidationError"})

_BY_PRIORITY: Final = (Conflict.DUPLICATE, Conflict.STALE, Conflict.ADDRESS_TAKEN, *sorted(REFUSED))
"""The most important reasons against a change, first one first. A command that is already recorded
needs nothing more, and a command decided on old state is decided again whatever else failed. Then
follow throttling and unknown reasons, and last a conflict that may pass by itself."""


def reason_codes(response: dict[str, Any], actions: int) -> list[str] | None:
    """Return a reason code for each action of a cancelled transaction, or `None` without reasons.

    `response` is the error's; the code "None" means that the action was not refused.
    """
    reasons = response.get("CancellationReasons")
    if not isinstance(reasons, list) or len(reasons) != actions:
        return None
    return [str(reason.get("Code", "None")) for reason in reasons]


def classify_cancellation(
    conflicts: Sequence[Conflict], codes: Sequence[str]
) -> Conflict | Exception | None:
    """Return the result of a change from the codes of its actions; `None` if none was refused.

    `conflicts` holds, by action, the meaning of its failed condition.
    """
    found = [
        _conflict(conflict, code)
        for conflict, code in zip(conflicts, codes, strict=True)
        if code != "None"
    ]
    if not found:
        return None
    worst = min(found, key=_priority)
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


def _priority(found: Conflict | str) -> int:
    if found in _BY_PRIORITY:
        return _BY_PRIORITY.index(found)
    return len(_BY_PRIORITY) + (found is Conflict.CONTENTION)
