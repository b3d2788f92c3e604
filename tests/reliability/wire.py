"""The wire between a worker and AWS: it counts the calls, and injects faults.

`Wire.connect` wraps every client that a worker uses. Before each call the wire asks its plan for a
fault, by the call's number and operation. So a run is repeatable call by call, and a crash can be
placed before and after every call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from functools import partial
from typing import Any, TypeAlias

from botocore.exceptions import ClientError, ReadTimeoutError

from tests.reliability.in_process_dynamodb import cancelled


class Fault(StrEnum):
    """What can happen to a call."""

    CRASH_BEFORE = "crash before"
    """The process crashes before it sends the call."""
    CRASH_AFTER = "crash after"
    """The call takes effect, and the process crashes before it receives the answer."""
    REFUSED = "refused"
    """The call has no effect: the service throttles or is unavailable."""
    UNANSWERED = "unanswered"
    """The call takes effect, and its answer is lost."""
    LATE = "late"
    """The call times out, and takes effect a few calls later."""
    REPEATED = "repeated"
    """The call is sent twice, as botocore does without an answer: the second answer counts."""
    PARTIAL = "partial"
    """The service handles a part of the call, and reports that."""
    CONTENDED = "contended"
    """The transaction is cancelled because of another one on the same item."""


CRASHES = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER)
Plan: TypeAlias = Callable[[int, str], Fault | None]
"""Returns the fault of a call by its number, from 0, and its operation."""
DELAY = 3
"""Number of calls by which a late call is delayed."""


class ProcessCrash(BaseException):
    """The process has crashed. Not an `Exception`, so that no handler in the worker catches it."""


def no_faults(_number: int, _operation: str) -> Fault | None:
    """Plan without faults."""
    return None


def at(faults: Mapping[int, Fault]) -> Plan:
    """Plan faults by the numbers of calls."""
    return lambda number, _: faults.get(number)


class Wire:
    """All calls of all processes, in order."""

    def __init__(
        self,
        plan: Plan = no_faults,
        pause: Callable[[str], object] = lambda _: None,
        state: Callable[[], object] | None = None,
    ) -> None:
        """Take the plan, and a function to call before each call (others may run there).

        With `state`, which returns all that outlives a process, `found` has it before each call.
        """
        self._plan = plan
        self._pause = pause
        self._state = state
        self.found: list[object] = []
        self.calls: list[tuple[str, Fault | None]] = []
        self._late: list[tuple[int, Callable[[], object]]] = []

    def connect(self, client: Any, process: Process) -> Any:
        """Return the client as that process uses it."""
        return _Connection(client, self, process)

    def __str__(self) -> str:
        """Return the calls, one per line."""
        return "\n".join(
            f"{number:4} {operation}" + (f"  <- {fault}" if fault else "")
            for number, (operation, fault) in enumerate(self.calls)
        )

    def arrive(self, *, all_of_them: bool = False) -> None:
        """Apply delayed calls that are due."""
        due = [call for number, call in self._late if all_of_them or number <= len(self.calls)]
        self._late = [] if all_of_them else [x for x in self._late if x[0] > len(self.calls)]
        for call in due:
            _unheard(call)

    def call(self, operation: str, send: Callable[..., Any], process: Process, request: Any) -> Any:
        """Make a call, or apply its fault."""
        if process.dead:
            raise ProcessCrash
        self._pause(operation)
        self.arrive()
        fault = self._plan(len(self.calls), operation)
        if fault is not None and fault not in applicable(operation):
            fault = None
        self.calls.append((operation, fault))
        if self._state is not None:
            self.found.append(self._state())
        try:
            return self._with(fault, operation, partial(send, **request), request, send)
        except ProcessCrash:
            process.dead = True
            raise

    def _with(
        self,
        fault: Fault | None,
        operation: str,
        send: Callable[[], Any],
        request: Any,
        part: Callable[..., Any],
    ) -> Any:
        if fault is None:
            return send()
        match fault:
            case Fault.CRASH_BEFORE:
                raise ProcessCrash
            case Fault.CRASH_AFTER:
                _unheard(send)
                raise ProcessCrash
            case Fault.REFUSED:
                raise _throttled(operation)
            case Fault.UNANSWERED:
                _unheard(send)
                raise ReadTimeoutError(endpoint_url="in-process")
            case Fault.LATE:
                self._late.append((len(self.calls) + DELAY, send))
                raise ReadTimeoutError(endpoint_url="in-process")
            case Fault.REPEATED:
                _unheard(send)
                return send()
            case Fault.PARTIAL:
                return _in_part(request, part)
            case Fault.CONTENDED:
                codes = ["TransactionConflict"] + ["None"] * (len(request["TransactItems"]) - 1)
                raise cancelled(codes)


class Process:
    """Whether a process is dead; a dead process cannot use its connections."""

    dead = False


class _Connection:
    def __init__(self, client: Any, wire: Wire, process: Process) -> None:
        self._client = client
        self._wire = wire
        self._process = process

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        send = getattr(self._client, operation)
        return lambda **request: self._wire.call(operation, send, self._process, request)


def applicable(operation: str) -> frozenset[Fault]:
    """Return the faults that can happen to a call."""
    faults = set(Fault)
    if operation != "transact_write_items":
        faults.discard(Fault.CONTENDED)
    if operation not in _PARTS:
        faults.discard(Fault.PARTIAL)
    if operation in {"query", "batch_get_item", "get_queue_url"}:  # a read has no effect to lose
        faults -= {Fault.CRASH_AFTER, Fault.UNANSWERED, Fault.LATE, Fault.REPEATED}
    return frozenset(faults)


_PARTS = {
    "batch_get_item": "RequestItems",
    "batch_write_item": "RequestItems",
    "publish_batch": "PublishBatchRequestEntries",
    "delete_message_batch": "Entries",
    "change_message_visibility_batch": "Entries",
    "send_message_batch": "Entries",
}


def _in_part(request: dict[str, Any], send: Callable[..., Any]) -> Any:
    """Send the first half of a call's entries, and return the rest as not done."""
    if "RequestItems" not in request:
        ((name, entries),) = [(n, request[n]) for n in set(_PARTS.values()) if n in request]
        half = len(entries) // 2
        answer = send(**{**request, name: entries[:half]}) if half else {"Successful": []}
        failed = [
            {"Id": entry["Id"], "Code": "InternalError", "SenderFault": False}
            for entry in entries[half:]
        ]
        return {**answer, "Failed": [*answer.get("Failed", []), *failed]}
    ((table, rest),) = request["RequestItems"].items()
    if isinstance(rest, list):
        half = (len(rest) + 1) // 2
        send(RequestItems={table: rest[:half]})
        metadata = {"RequestId": "in part", "HTTPStatusCode": 200}
        undone = {table: rest[half:]} if rest[half:] else {}
        return {"UnprocessedItems": undone, "ResponseMetadata": metadata}
    keys = sorted(rest["Keys"], key=lambda key: (key["pk"]["S"], key["sk"]["S"]))
    half = (len(keys) + 1) // 2
    answer = send(RequestItems={table: {**rest, "Keys": keys[:half]}})
    left = keys[half:]
    unread = {table: {**rest, "Keys": left}} if left else {}
    return {**answer, "UnprocessedKeys": unread}


def _unheard(send: Callable[[], Any]) -> None:
    with suppress(ClientError):
        send()


def _throttled(operation: str) -> ClientError:
    metadata = {"RequestId": "in-process", "HTTPStatusCode": 400}
    problem = {"Code": "ThrottlingException", "Message": "slow down"}
    answer: Any = {"Error": problem, "ResponseMetadata": metadata}
    return ClientError(answer, operation)
