"""What the transport asks of a queue: four calls, each of up to ten messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

MAX_BATCH = 10
"""SQS takes and gives at most ten messages a call."""


class RawMessage(Protocol):
    """One message as received, with the receipt that alone can settle it."""

    @property
    def message_id(self) -> str:
        """SQS's id, the same at every delivery."""
        ...

    @property
    def receipt(self) -> str:
        """The receipt handle of this delivery."""
        ...

    @property
    def body(self) -> str:
        """The text as sent."""
        ...

    @property
    def receives(self) -> int:
        """ApproximateReceiveCount: 1 on the first delivery."""
        ...

    @property
    def sent_at(self) -> float:
        """When it was sent, in seconds since the epoch."""
        ...

    @property
    def first_received_at(self) -> float | None:
        """When it was received for the first time, in seconds since the epoch, if SQS tells."""
        ...

    @property
    def received_at(self) -> float:
        """When it was received, in seconds since the epoch."""
        ...

    @property
    def group_id(self) -> str | None:
        """MessageGroupId."""
        ...

    @property
    def trace(self) -> str | None:
        """The `traceparent` of the receive that brought it, where that is traced."""
        ...


@dataclass(frozen=True, slots=True)
class DeadLetterMessage:
    """A message on its way to the dead-letter queue, with the reason."""

    message: RawMessage
    code: str
    detail: str
    body: str | None
    """Replaces the message's body; `None` leaves it as it is."""


Failures: TypeAlias = Mapping[str, str]
"""The receipts of the entries that failed, each with the service's error code."""


class CallFailed(dict[str, str]):
    """The failures of a call that failed as a whole: each receipt, all with the call's code."""

    @classmethod
    def of(cls, error: Exception, receipts: Iterable[str]) -> CallFailed:
        """Return the failures of a call that raised; an error without a code gives its class."""
        code = str(getattr(error, "code", None) or type(error).__name__)
        return cls(dict.fromkeys(receipts, code))


class CommandQueue(Protocol):
    """One queue and its dead-letter queue. Calls block, and may come from several threads.

    Every call ends in finite time. One that fails as a whole raises an exception, whose text is
    one line without personal data, and whose attribute `code` is the service's code, if it has one.
    """

    def check(self) -> None:
        """Raise `LookupError`, naming the queue, when it or its dead-letter queue is missing."""

    def receive(
        self, max_messages: int, wait_seconds: int, visibility_timeout: int
    ) -> Sequence[RawMessage]:
        """Wait up to `wait_seconds` for messages; give up to `max_messages` of them.

        They stay invisible to others for `visibility_timeout` seconds.
        """
        ...

    def delete(self, receipts: Sequence[str]) -> Failures:
        """Delete up to ten messages; give those that failed."""
        ...

    def change_visibility(self, changes: Sequence[tuple[str, int]]) -> Failures:
        """Let up to ten messages appear again in so many seconds; give those that failed."""
        ...

    def dead_letter(self, letters: Sequence[DeadLetterMessage]) -> Failures:
        """Send up to ten messages to the dead-letter queue, deleting none; give the failed."""
        ...


CommandQueueFactory: TypeAlias = Callable[[str], CommandQueue]
"""Makes the `CommandQueue` of a queue name, without calling the network."""


def one_line(error: Exception) -> str:
    """Give an error's kind and the first line of its text."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
