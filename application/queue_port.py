"""The port of a command queue and its records: four calls, each for up to ten messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from application.disposition import DeadLetter

MAX_BATCH: Final = 10
"""Maximum messages or events per call, by the rules of SQS and SNS."""
FIFO_SUFFIX: Final = ".fifo"
"""Suffix of the name of a FIFO queue or topic."""


@dataclass(frozen=True, slots=True)
class RawMessage:
    """One message as received. Times are seconds since the epoch."""

    message_id: str
    """SQS's id, the same at every delivery."""
    receipt: str
    """The receipt handle of this delivery, which alone can acknowledge the message."""
    body: str
    receives: int
    """ApproximateReceiveCount: 1 on the first delivery."""
    sent_at: float
    received_at: float
    group_id: str | None
    trace: str | None = field(default=None, kw_only=True)
    """The `traceparent` of the receive call, if that call is traced."""
    redrives: int = 0
    """Number of redrives of the message from the dead-letter queue."""
    original_sent_at: float | None = None
    """When it was first sent, if a redrive states it."""
    first_received_at: float | None = None
    """When it was first received, if SQS reports it."""
    principal: str | None = None
    """The unique id of the role or user that sent it, from SenderId."""
    first_principal: str | None = None
    """The principal that first sent it, if a redrive states one; any sender can state one."""
    edited_original: str | None = None
    """The redacted body before an operator corrected the command."""


@dataclass(frozen=True, slots=True)
class DeadLetterMessage:
    """A message for the dead-letter queue, with the reason."""

    message: RawMessage
    reason: DeadLetter


Failures: TypeAlias = Mapping[str, str]
"""The receipts of the entries that failed, each with the service's error code."""


class CallFailed(dict[str, str]):
    """The failures of a call that failed as a whole: each receipt with the call's code."""

    @classmethod
    def of(cls, error: Exception, receipts: Iterable[str]) -> CallFailed:
        """Return the failures of a call that raised; without a code, its class is the code."""
        code = str(getattr(error, "code", None) or type(error).__name__)
        return cls(dict.fromkeys(receipts, code))


class CommandQueue(Protocol):
    """One queue, its dead-letter queue and its quarantine queue.

    Calls block, and several threads may make them. Every call ends in finite time. A call that
    fails as a whole raises an exception whose text is one line without personal data, and whose
    attribute `code` is the service's code, if any.
    """

    def receive(
        self, max_messages: int, wait_seconds: int, visibility_timeout: int
    ) -> Sequence[RawMessage]:
        """Wait up to `wait_seconds` for messages; return up to `max_messages` of them.

        They are invisible to others for `visibility_timeout` seconds.
        """
        ...

    def delete(self, receipts: Sequence[str]) -> Failures:
        """Delete up to ten messages; return those that failed."""
        ...

    def change_visibility(self, changes: Sequence[tuple[str, int]]) -> Failures:
        """Make up to ten messages visible in so many seconds; return those that failed."""
        ...

    def quarantine(self, letters: Sequence[DeadLetterMessage]) -> Failures:
        """Send up to ten messages unchanged to the quarantine queue; return those that failed.

        For letters whose body differs from the body of the message, before `dead_letter`.
        """
        ...

    def dead_letter(self, letters: Sequence[DeadLetterMessage]) -> Failures:
        """Send up to ten messages to the dead-letter queue; return those that failed."""
        ...


CommandQueueFactory: TypeAlias = Callable[[str], CommandQueue]
"""Returns the `CommandQueue` of a queue name, without calling the network."""
