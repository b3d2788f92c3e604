"""A standard SQS queue in memory: long polls, receipts, visibility timeouts."""

from __future__ import annotations

import hashlib
import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

VISIBILITY_TIMEOUT = 30.0
"""Default for queues created without one, in seconds, as on SQS."""

Clock = Callable[[], float]


@dataclass(slots=True)
class Message:
    """One message of a queue."""

    message_id: str
    body: str
    sent_at: float
    md5: str
    receives: int = 0
    receipt: str = ""
    deadline: float = 0.0
    """When an invisible message becomes visible again."""


@dataclass(slots=True)
class Poll:
    """A waiting receive."""

    limit: int
    give: Callable[[list[Message]], None]
    over: bool = False


class Queue:
    """A standard queue."""

    def __init__(
        self, clock: Clock = time.time, attributes: Mapping[str, str] | None = None
    ) -> None:
        self._clock = clock
        self.attributes = dict(attributes or {})
        self._timeout = float(self.attributes.get("VisibilityTimeout", VISIBILITY_TIMEOUT))
        self._numbers = itertools.count(1)
        self._ready: deque[Message] = deque()
        self._in_flight: dict[str, Message] = {}
        self._deadlines: list[tuple[float, str]] = []
        self._polls: deque[Poll] = deque()

    def depth(self) -> dict[str, int]:
        """Count the visible and invisible messages, and the receives that wait."""
        polls = sum(not poll.over for poll in self._polls)
        return {"visible": len(self._ready), "invisible": len(self._in_flight), "polls": polls}

    def send(self, bodies: Iterable[str]) -> list[Message]:
        """Add messages and wake waiting receives."""
        now = self._clock()
        messages = [
            Message(f"m-{next(self._numbers)}", body, now, hashlib.md5(body.encode()).hexdigest())  # noqa: S324 - SQS's checksum
            for body in bodies
        ]
        self._ready.extend(messages)
        self._wake()
        return messages

    def receive(self, poll: Poll) -> bool:
        """Return messages now, or keep the poll until there are some.

        Return True if it was served.
        """
        self._appear()
        if not self._ready:
            self._polls.append(poll)
            return False
        poll.over = True
        poll.give([self._take() for _ in range(min(poll.limit, len(self._ready)))])
        return True

    def give_up(self, poll: Poll) -> None:
        """Answer a poll whose wait time is over."""
        if not poll.over:
            poll.over = True
            self._polls.remove(poll)
            poll.give([])

    def delete(self, receipt: str) -> bool:
        """Delete a message; return True if this was its current receipt."""
        return self._in_flight.pop(receipt, None) is not None

    def change_visibility(self, receipt: str, seconds: float) -> None:
        """Make a message visible again after `seconds`."""
        message = self._in_flight.get(receipt)
        if message is not None:
            self._hide(message, seconds)
            self._appear()
            self._wake()

    def _take(self) -> Message:
        message = self._ready.popleft()
        message.receives += 1
        message.receipt = f"{message.message_id}/{message.receives}"
        self._in_flight[message.receipt] = message
        self._hide(message, self._timeout)
        return message

    def _hide(self, message: Message, seconds: float) -> None:
        message.deadline = self._clock() + seconds
        heapq.heappush(self._deadlines, (message.deadline, message.receipt))

    def _appear(self) -> None:
        """Make timed-out messages visible; a deadline that has been extended does not count."""
        now = self._clock()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, receipt = heapq.heappop(self._deadlines)
            message = self._in_flight.get(receipt)
            if message is not None and message.deadline <= now:
                self._ready.append(self._in_flight.pop(receipt))

    def _wake(self) -> None:
        while self._ready and self._polls:
            poll = self._polls.popleft()
            if not poll.over:
                self.receive(poll)
