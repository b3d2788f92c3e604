"""Report every call of a boto3 client, and every failed attempt, to an observer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from adapters.aws.client import error_code
from adapters.dynamodb.capacity import TRANSACTION_FACTOR, item_size, read_units, write_units

THROTTLED: Final = re.compile(
    r"Throttl|ThroughputExceeded|TooManyRequests|RequestLimitExceeded|SlowDown|OverLimit"
)
"""Matches the codes by which AWS services report throttling."""
SAMPLED_CALLS: Final = 50
"""After this many calls of an operation, the units are computed for one call in `SAMPLED_CALLS` and
multiplied: computing them for each call would cost as much as all other telemetry."""
CANCELLED: Final = "TransactionCanceledException"
_TARGETS: Final = ("TableName", "QueueUrl", "TopicArn", "QueueName")

Client = TypeVar("Client")
Units: TypeAlias = tuple[float, float]
"""Read and write units."""
NO_UNITS: Final[Units] = (0.0, 0.0)


class CallObserver(Protocol):
    """Observe calls, on the thread that makes them. It receives no content of a message."""

    def begin(self, service: str, operation: str, target: Callable[[], str]) -> Any:
        """Record that a call begins; return the value to pass to `end`.

        `target` returns the name of the table, queue or topic of the call, or "".
        """
        ...

    def end(self, begun: Any, error: str | None, units: Units) -> None:
        """Record that the call ended, with its error code, if any, and the units it used."""
        ...

    def failed_try(self, service: str, operation: str, error: str, *, throttled: bool) -> None:
        """Record a failed attempt; the call may succeed at another attempt."""
        ...


def observe(made: Client, observer: CallObserver) -> Client:
    """Report all later calls of a boto3 client to an observer; return the client."""
    client: Any = made
    service: str = client.meta.service_model.service_name
    for method, operation in client.meta.method_to_api_mapping.items():
        setattr(client, method, _observed(getattr(client, method), service, operation, observer))
    name = client.meta.service_model.service_id.hyphenize()

    def judged(
        response: Any = None, operation: Any = None, caught_exception: Any = None, **_: Any
    ) -> None:
        if error := _try_error(response, caught_exception):
            throttled = _throttled(error, response)
            observer.failed_try(service, operation.name, error, throttled=throttled)

    client.meta.events.register(f"needs-retry.{name}", judged)
    return made


def _observed(
    make: Callable[..., Any], service: str, operation: str, observer: CallObserver
) -> Callable[..., Any]:
    turns = count()

    def units_of(parameters: Mapping[str, Any], answer: Mapping[str, Any]) -> Units:
        turn = next(turns)
        if turn >= SAMPLED_CALLS and turn % SAMPLED_CALLS:
            return NO_UNITS
        read, write = consumed(operation, parameters, answer)
        calls = 1 if turn < SAMPLED_CALLS else SAMPLED_CALLS
        return read * calls, write * calls

    def call(**parameters: Any) -> Any:
        begun = observer.begin(service, operation, partial(target_of, parameters))
        try:
            answer = make(**parameters)
        except Exception as error:
            code = error_code(error)
            units = units_of(parameters, {}) if code == CANCELLED else NO_UNITS
            observer.end(begun, code, units)
            raise
        observer.end(begun, None, units_of(parameters, answer))
        return answer

    return call


def target_of(parameters: Mapping[str, Any]) -> str:
    """Return the name of the table, queue or topic that a call is about, or ''."""
    for name in _TARGETS:
        if target := parameters.get(name):
            return str(target).rpartition("/" if name == "QueueUrl" else ":")[2]
    if "RequestItems" in parameters:
        return next(iter(parameters["RequestItems"]), "")
    for action in parameters.get("TransactItems", ()):
        return str(next(iter(action.values()))["TableName"])
    return ""


def _try_error(response: Any, caught: Exception | None) -> str | None:
    if caught is not None:
        return error_code(caught)
    error = response[1].get("Error") if response else None
    return str(error.get("Code", "Unknown")) if error else None


def _throttled(error: str, response: Any) -> bool:
    reasons = (response[1].get("CancellationReasons") or ()) if response else ()
    codes = [error, *(str(reason.get("Code")) for reason in reasons)]
    return any(THROTTLED.search(code) for code in codes)


def consumed(operation: str, request: Mapping[str, Any], answer: Mapping[str, Any]) -> Units:
    """Return the read and write units of a call by DynamoDB's rules, without those of the index.

    Asking DynamoDB (`ReturnConsumedCapacity`) would make each request and answer longer, and would
    rule out fast calls, which take a quarter of the processor time.
    """
    match operation:
        case "BatchGetItem":
            found = [item for items in answer.get("Responses", {}).values() for item in items]
            wanted = sum(len(each["Keys"]) for each in request["RequestItems"].values())
            left = answer.get("UnprocessedKeys", {}).values()
            absent = wanted - len(found) - sum(len(each["Keys"]) for each in left)
            return float(sum(read_units(item_size(item)) for item in found) + absent), 0.0
        case "Query":
            return float(read_units(sum(map(item_size, answer.get("Items", ()))))), 0.0
        case "TransactWriteItems":
            return 0.0, float(sum(map(_action_units, request["TransactItems"])))
        case "DeleteItem":
            return 0.0, 1.0
        case "BatchWriteItem":
            return 0.0, float(sum(len(each) for each in request["RequestItems"].values()))
    return NO_UNITS


def _action_units(action: Mapping[str, Any]) -> int:
    size = item_size(action["Put"]["Item"]) if "Put" in action else 0
    return TRANSACTION_FACTOR * write_units(size)
