"""Ways to treat a proxied call other than failing it: record, filter, delay or reorder it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.e2e.proxy import Exchange, Fault


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was answered. `at` is when AWS answered, in seconds since the epoch."""

    asked: Any
    answered: Any
    at: float


@dataclass(slots=True)
class BatchObserver:
    """Forwards every call unchanged and records it, in the order in which AWS answered."""

    calls: list[Call] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def strike(self, exchange: Exchange) -> None:
        """Forward the call and record it."""
        answer = exchange.forward()
        with self._lock:
            self.calls.append(
                Call(json.loads(exchange.asked), json.loads(answer.body or b"{}"), time.time())
            )
        exchange.answer(answer)

    def changes(self) -> list[list[tuple[str, int]]]:
        """Return receipts and visibility timeouts of each ChangeMessageVisibilityBatch call."""
        return [
            [
                (entry["ReceiptHandle"], entry["VisibilityTimeout"])
                for entry in call.asked["Entries"]
            ]
            for call in self.calls
        ]


@dataclass(frozen=True, slots=True)
class About:
    """Fault that applies only to calls whose request contains a text."""

    text: str
    fault: Fault

    def strike(self, exchange: Exchange) -> None:
        """Apply the fault if the request contains the text; otherwise forward the call."""
        if self.text.encode() in exchange.asked:
            self.fault.strike(exchange)
        else:
            exchange.answer(exchange.forward())


@dataclass(frozen=True, slots=True)
class Late:
    """Delays a call until a condition is true, then lets a `BatchObserver` forward it."""

    happened: Callable[[], object]
    witness: BatchObserver

    def strike(self, exchange: Exchange) -> None:
        """Wait for the condition, for at most 30 s, then forward the call and record it."""
        deadline = time.monotonic() + 30
        while not self.happened() and time.monotonic() < deadline:
            exchange.wait(0.05)
        self.witness.strike(exchange)


@dataclass(frozen=True, slots=True)
class Then:
    """Runs a function after AWS has answered and before the client receives the answer."""

    do: Callable[[Any], object]
    """Called with the answer."""

    def strike(self, exchange: Exchange) -> None:
        """Forward the call, run the function, then answer the client."""
        answer = exchange.forward()
        self.do(json.loads(answer.body or b"{}"))
        exchange.answer(answer)


@dataclass(slots=True)
class Turned:
    """Returns the messages of ReceiveMessage in another order than the queue did."""

    order: Callable[[list[Any]], list[Any]]
    given: list[str] = field(default_factory=list)
    """The bodies, in the order in which they were returned."""

    def strike(self, exchange: Exchange) -> None:
        """Forward the call and reorder the messages of the answer."""
        answer = exchange.forward()
        told = json.loads(answer.body)
        if told.get("Messages"):
            told["Messages"] = self.order(told["Messages"])
            self.given += [row["Body"] for row in told["Messages"]]
        exchange.answer(replace(answer, body=json.dumps(told).encode()))
