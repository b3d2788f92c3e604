"""The wire between a worker and AWS: it counts the calls, and breaks where it is told to.

Every client that a worker uses is wrapped by `Wire.connect`. Before each call the wire asks its
plan for a fault, by the call's number and operation. So a run is repeatable call by call, and a
crash can be put before and after every single one.
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
    """What can become of a call."""

    CRASH_BEFORE = "crash before"
    """The process dies before the call leaves it."""
    CRASH_AFTER = "crash after"
    """The call takes effect, and the process dies before it hears of it."""
    REFUSED = "refused"
    """The call has no effect: the service is throttling or down."""
    UNANSWERED = "unanswered"
    """The call takes effect, and its answer is lost."""
    LATE = "late"
    """The call is given up, and takes effect a few calls later."""
    REPEATED = "repeated"
    """The call is sent twice, as botocore does when it hears nothing: the second answer counts."""
    PARTIAL = "partial"
    """The service does a part of the call, and says so."""
    CONTENDED = "contended"
    """The transaction is cancelled, for another one is at the same item."""


CRASHES = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER)
Plan: TypeAlias = Callable[[int, str], Fault | None]
"""Gives the fault of a call by its number, from 0, and its operation."""
DELAY = 3
"""Calls by which a late one comes late."""


class ProcessCrash(BaseException):
    """The process is gone. Not an `Exception`: nothing in the worker may outlive it."""


def no_faults(_number: int, _operation: str) -> Fault | None:
    """Let every call through."""
    return None


def at(faults: Mapping[int, Fault]) -> Plan:
    """Plan faults by the numbers of calls."""
    return lambda number, _: faults.get(number)


class Wire:
    """All calls of all processes, in order."""

    def __init__(
        self, plan: Plan = no_faults, pause: Callable[[str], object] = lambda _: None
    ) -> None:
        """Take the plan, and what to do before each call (others may go on there)."""
        self._plan = plan
        self._pause = pause
        self.calls: list[tuple[str, Fault | None]] = []
        self._late: list[tuple[int, Callable[[], object]]] = []

    def connect(self, client: Any, process: Process) -> Any:
        """Give the client as that process sees it."""
        return _Connection(client, self, process)

    def __str__(self) -> str:
        """Give the calls, a line each."""
        return "\n".join(
            f"{number:4} {operation}" + (f"  <- {fault}" if fault else "")
            for number, (operation, fault) in enumerate(self.calls)
        )

    def arrive(self, *, all_of_them: bool = False) -> None:
        """Let calls take effect that are late enough by now."""
        due = [call for number, call in self._late if all_of_them or number <= len(self.calls)]
        self._late = [] if all_of_them else [x for x in self._late if x[0] > len(self.calls)]
        for call in due:
            _unheard(call)

    def call(self, operation: str, send: Callable[..., Any], process: Process, request: Any) -> Any:
        """Make a call, or what becomes of it."""
        if process.dead:
            raise ProcessCrash
        self._pause(operation)
        self.arrive()
        fault = self._plan(len(self.calls), operation)
        if fault is not None and fault not in applicable(operation):
            fault = None
        self.calls.append((operation, fault))
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
    """Whether a process lives; its connections die with it."""

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
    """Say which faults a call can meet."""
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
    """Send the first half of a call's entries, and give the rest back as not done."""
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
