"""A message whose command was parsed and is not decided yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import structlog

from application.disposition import ReceivedMessage
from application.messages import Redacted, shown_attribute
from application.ports import CommandKey
from domain.commands import CommandEnvelope

logger = structlog.get_logger("worker.command")


class Parser(Protocol):
    """Parse commands; implemented by `application.messages.MessageParser`."""

    def parse(self, message: ReceivedMessage) -> CommandEnvelope:
        """Parse the command of a message.

        Raises:
            MalformedMessageError: the message holds no valid command.
            UnknownTypeError: the type is unknown; a later version may know it.
        """
        ...

    def redact(self, body: str) -> Redacted | None:
        """Return the body of the dead letter; `None` if the message's own body can be shown."""
        ...


@dataclass(eq=False, slots=True)
class PendingCommand:
    """A message whose command is not decided and committed yet."""

    index: int
    message: ReceivedMessage
    envelope: CommandEnvelope
    user_id: str | None
    """The user that the command is about; for a command by e-mail address, set after the read."""
    log: structlog.typing.FilteringBoundLogger
    producer: str | None = None
    """The producer of the permissions file that sent it."""
    principal: str | None = None
    """The unique id of the role or user that sent it."""
    attempts: int = 0
    """Commits that failed because something had changed since it was read."""

    @classmethod
    def of(cls, index: int, message: ReceivedMessage, envelope: CommandEnvelope) -> PendingCommand:
        """Create it with the command's ids bound to every log line about it."""
        log = logger.bind(
            command_id=envelope.command_id,
            user_id=envelope.user_id,
            correlation_id=shown_attribute("correlationid", envelope.correlation_id),
        )
        return cls(index, message, envelope, envelope.user_id, log)

    @property
    def key(self) -> CommandKey:
        """The key of the command's outcome."""
        return CommandKey(self.envelope.user_id, self.envelope.command_id)

    @property
    def group(self) -> str | None:
        """The FIFO group; `None` on a standard queue."""
        return self.message["group_id"] if self.message["fifo"] else None
