"""The thread that owns every receipt of one queue, and the sender threads that make its calls.

If SQS refuses a kind of call as a whole, finished messages stay held and are renewed, one small
call at a time probes, and the receivers wait: see `worker.transport.refusal`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic, sleep
from typing import assert_never

import structlog

from application.disposition import DeadLetter, Disposition, Retry
from application.health_source import ENDED, STALLED_AFTER, LivenessCheck
from application.queue_port import CallFailed, CommandQueue, DeadLetterMessage, Failures, RawMessage
from worker.transport.in_flight import Call, InFlight

logger = structlog.get_logger(__name__)

SENDER_THREADS = 4
"""Concurrent calls. While all sender threads are busy, dispositions are collected into fuller
calls."""


class Acknowledger:
    """Renew messages in flight and acknowledge finished ones, for all tasks of one queue.

    Every public method may be called from any thread, and from a signal handler, and returns at
    once: it only adds to the inbox (`SimpleQueue.put` is reentrant). The `InFlight` is used by the
    acknowledger's own thread only, except for `still_held` and the properties, which only read.
    """

    def __init__(self, name: str, queue: CommandQueue, in_flight: InFlight) -> None:
        self._name = name
        self._queue = queue
        self._in_flight = in_flight
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._busy_senders = 0
        self._finishing = False
        self._thread = Thread(target=self._run, name=f"acknowledger {name}", daemon=True)
        self._sender_threads = [
            Thread(
                target=self._send_calls, name=f"acknowledger {name} sender {number}", daemon=True
            )
            for number in range(SENDER_THREADS)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in (self._thread, *self._sender_threads):
            thread.start()

    def post(self, action: Callable[[], None]) -> None:
        """Run a function on the acknowledger's thread."""
        self._inbox.put(action)

    def hold(self, messages: Sequence[RawMessage], visibility_timeout: int) -> None:
        """Hold messages just received, which are invisible for so many seconds."""
        if self._idle:
            self._in_flight.progress_at = monotonic()
        self.post(partial(self._in_flight.hold, messages, monotonic(), visibility_timeout))

    def apply(self, dispositions: Iterable[tuple[str, Disposition]]) -> None:
        """Carry out the dispositions of messages, by receipt."""
        self.post(partial(self._in_flight.apply, list(dispositions), monotonic()))

    def release(self, receipts: Collection[str]) -> None:
        """Make messages that no task has seen visible at once; whole FIFO groups only."""
        self.post(partial(self._in_flight.release, frozenset(receipts), monotonic()))

    @property
    def in_hand(self) -> int:
        """Number of messages that are received and not finished yet; may be outdated."""
        return len(self._in_flight)

    @property
    def refused(self) -> bool:
        """Whether SQS refuses a kind of call, so that no more messages may be received."""
        return self._in_flight.readiness_issue is not None

    @property
    def readiness_issue(self) -> str | None:
        """Why messages are not acknowledged; `None` if they are. Any thread."""
        if refused := self._in_flight.readiness_issue:
            return refused
        seconds = monotonic() - self._in_flight.progress_at
        if self._idle or seconds < STALLED_AFTER:
            return None
        return f"nothing was acknowledged for {seconds:.0f} s, with {self.in_hand} in flight"

    @property
    def _idle(self) -> bool:
        """Whether no message is held or waits in the inbox."""
        return self.in_hand == 0 and self._inbox.empty()

    def still_held(self, receipts: Iterable[str]) -> bool:
        """Return True if all messages are still ours, as far as the last renewal shows."""
        return self._in_flight.lost.isdisjoint(receipts)

    def liveness_check(self) -> LivenessCheck:
        """Return the check that the threads run; each of their calls has a timeout. Any thread."""
        alive = self._finishing or all(t.is_alive() for t in (self._thread, *self._sender_threads))
        return LivenessCheck(self._thread.name, 0.0 if alive else ENDED, 0.0)

    def finish(self, seconds: float) -> bool:
        """Release unfinished messages and wait for the last calls; return True if all were made."""
        self.post(self._begin_finishing)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    # --- on the acknowledger's thread ------------------------------------------------------

    def _run(self) -> None:
        while not (self._finishing and self._busy_senders == 0 and not self._in_flight.unfinished):
            try:
                self._read_inbox()
                for call in self._in_flight.due(monotonic(), SENDER_THREADS - self._busy_senders):
                    self._busy_senders += 1
                    self._calls.put(call)
            except Exception:  # the thread must survive any error
                logger.exception("settler_stumbled", queue=self._name)
                sleep(1)  # the error may occur again at once
        for _ in self._sender_threads:
            self._calls.put(None)

    def _read_inbox(self) -> None:
        timeout = None
        if self._busy_senders < SENDER_THREADS:
            next_due = self._in_flight.next_due()
            timeout = None if next_due == float("inf") else max(0.0, next_due - monotonic())
        try:
            self._inbox.get(timeout=timeout)()
            while True:
                self._inbox.get_nowait()()
        except Empty:
            pass

    def _begin_finishing(self) -> None:
        self._finishing = True
        self._in_flight.begin_finishing(monotonic())

    def _finished(self, call: Call, failures: Failures) -> None:
        self._busy_senders -= 1
        self._in_flight.finish(call, failures, monotonic())

    # --- on a sender thread ----------------------------------------------------------------

    def _send_calls(self) -> None:
        while (call := self._calls.get()) is not None:
            self.post(partial(self._finished, call, self._make(call)))

    def _make(self, call: Call) -> Failures:
        try:
            return self._send(call)
        except Exception as error:  # noqa: BLE001 - any error means that the call failed
            return CallFailed.of(error, [held.message.receipt for held in call.held])

    def _send(self, call: Call) -> Failures:
        match call.kind:
            case "delete":
                return self._queue.delete([held.message.receipt for held in call.held])
            case "renew":
                seconds = self._in_flight.visibility_timeout
                return self._queue.change_visibility(
                    [(held.message.receipt, seconds) for held in call.held]
                )
            case "retry_later":
                return self._queue.change_visibility(
                    [
                        (held.message.receipt, held.disposition.delay)
                        for held in call.held
                        if isinstance(held.disposition, Retry)
                    ]
                )
            case "quarantine":
                return self._queue.quarantine(_letters(call))
            case "dead_letter":
                return self._queue.dead_letter(_letters(call))
        assert_never(call.kind)


def _letters(call: Call) -> list[DeadLetterMessage]:
    return [
        DeadLetterMessage(held.message, disposition)
        for held in call.held
        if isinstance(disposition := held.disposition, DeadLetter)
    ]
