"""What a proxy can do with a call besides spoiling it: watch it, pick it, turn its answer round."""

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
    """One call that was answered. `at` is when AWS had answered, in seconds since the epoch."""

    asked: Any
    answered: Any
    at: float


@dataclass(slots=True)
class BatchObserver:
    """Forwards every call unspoiled and keeps it, in the order in which AWS answered."""

    calls: list[Call] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def strike(self, exchange: Exchange) -> None:
        """Forward, and keep."""
        answer = exchange.forward()
        with self._lock:
            self.calls.append(
                Call(json.loads(exchange.asked), json.loads(answer.body or b"{}"), time.time())
            )
        exchange.answer(answer)

    def changes(self) -> list[list[tuple[str, int]]]:
        """Give receipts and visibility timeouts of ChangeMessageVisibilityBatch, call by call."""
        return [
            [
                (entry["ReceiptHandle"], entry["VisibilityTimeout"])
                for entry in call.asked["Entries"]
            ]
            for call in self.calls
        ]


@dataclass(frozen=True, slots=True)
class About:
    """A fault for the calls alone whose request holds a text."""

    text: str
    fault: Fault

    def strike(self, exchange: Exchange) -> None:
        """Let the fault strike, or forward."""
        if self.text.encode() in exchange.asked:
            self.fault.strike(exchange)
        else:
            exchange.answer(exchange.forward())


@dataclass(frozen=True, slots=True)
class Late:
    """Lets the client wait until something has happened before a witness forwards the call."""

    happened: Callable[[], object]
    witness: BatchObserver

    def strike(self, exchange: Exchange) -> None:
        """Wait, 30 s at most, then forward and keep."""
        deadline = time.monotonic() + 30
        while not self.happened() and time.monotonic() < deadline:
            exchange.wait(0.05)
        self.witness.strike(exchange)


@dataclass(frozen=True, slots=True)
class Then:
    """Does something between AWS's answer and the client's hearing of it."""

    do: Callable[[Any], object]
    """Takes the answer."""

    def strike(self, exchange: Exchange) -> None:
        """Forward, do it, answer."""
        answer = exchange.forward()
        self.do(json.loads(answer.body or b"{}"))
        exchange.answer(answer)


@dataclass(slots=True)
class Turned:
    """ReceiveMessage's messages come in another order than the queue gave them."""

    order: Callable[[list[Any]], list[Any]]
    given: list[str] = field(default_factory=list)
    """The bodies, as they were given."""

    def strike(self, exchange: Exchange) -> None:
        """Forward, and turn the answer."""
        answer = exchange.forward()
        told = json.loads(answer.body)
        if told.get("Messages"):
            told["Messages"] = self.order(told["Messages"])
            self.given += [row["Body"] for row in told["Messages"]]
        exchange.answer(replace(answer, body=json.dumps(told).encode()))
