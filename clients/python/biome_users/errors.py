"""Errors of this library. No message contains a value of a command or an event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from biome_users.sender import CommandRequest


class UsersError(Exception):
    """Base class of this library's errors."""


class InvalidCommandError(UsersError, ValueError):
    """A command or its envelope breaks a rule of the contract; nothing was sent."""


class InvalidEventError(UsersError, ValueError):
    """A message is not an event of the user worker."""


class NotSentError(UsersError):
    """Some or all commands may not have been sent.

    `send_many(error.unsent)` sends them again under the same ids; a command that is on the queue
    already has no second effect. `__cause__` is the exception of the SDK, if there is one.
    """

    def __init__(self, code: str, sent: Sequence[str], unsent: Sequence[CommandRequest]) -> None:
        """Store the error code, the ids of the commands sent, and the other commands."""
        self.code = code
        """Error code of AWS, or the class of the exception if AWS did not answer."""
        self.sent = tuple(sent)
        """Ids of the commands that are on the queue, in order."""
        self.unsent = tuple(unsent)
        """The other commands in order, with their ids."""
        count = len(self.sent) + len(self.unsent)
        super().__init__(f"{len(self.unsent)} of {count} commands not sent: {code}")

    @property
    def unsent_ids(self) -> tuple[str, ...]:
        """Ids of the commands that may not be on the queue."""
        return tuple(str(request.command_id) for request in self.unsent)
