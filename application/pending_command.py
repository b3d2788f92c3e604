"""A message whose command is understood and waits to be decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import structlog

from application.disposition import ReceivedMessage
from application.ports import CommandKey
from domain.commands import CommandEnvelope

logger = structlog.get_logger("worker.command")


class Parser(Protocol):
    """What reads commands: `application.messages.MessageParser`."""

    def parse(self, message: ReceivedMessage) -> CommandEnvelope:
        """Read a command.

        Raises:
            MalformedMessageError: it is none.
            UnknownTypeError: it is one of a later version, perhaps.
        """
        ...

    def redact(self, body: str) -> str | None:
        """Give a body without its secrets; `None` when there is nothing secret in it."""
        ...


@dataclass(eq=False, slots=True)
class PendingCommand:
    """A message whose command is still to be decided and committed."""

    index: int
    message: ReceivedMessage
    envelope: CommandEnvelope
    user_id: str | None
    """The user it is about; for a command by e-mail address, found when it is read."""
    log: structlog.typing.FilteringBoundLogger
    attempts: int = 0
    """Commits that failed because something had changed since it was read."""

    @classmethod
    def of(cls, index: int, message: ReceivedMessage, envelope: CommandEnvelope) -> PendingCommand:
        """Start on a command, with its ids bound to every line about it."""
        log = logger.bind(
            command_id=envelope.command_id,
            user_id=envelope.user_id,
            correlation_id=envelope.correlation_id,
        )
        return cls(index, message, envelope, envelope.user_id, log)

    @property
    def key(self) -> CommandKey:
        """Under what its outcome is looked for."""
        return CommandKey(self.envelope.user_id, self.envelope.command_id)

    @property
    def group(self) -> str | None:
        """Its FIFO group, `None` on a standard queue."""
        return self.message["group_id"] if self.message["fifo"] else None
