"""Errors of sending commands and of waiting for their answers.

No message contains a value of a command.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from user_client.commands import CommandRequest

MOST_SHOWN = 5
"""Maximum problems listed in a message; `InvalidCommandError.problems` has all of them."""


class UserClientError(Exception):
    """Base class of this package's errors."""


class InvalidCommandError(UserClientError, ValueError):
    """A command breaks a rule; no command of the same call was sent."""

    def __init__(self, problems: Sequence[tuple[int, str]]) -> None:
        """Store the problems: the command's position in the call, field and rule."""
        self.problems = tuple(problems)
        """Position of the command, from 0, and the field and rule."""
        parts = [f"command {place}: {detail}" for place, detail in self.problems[:MOST_SHOWN]]
        if len(self.problems) > MOST_SHOWN:
            parts.append(f"and {len(self.problems) - MOST_SHOWN} more")
        super().__init__("; ".join(parts))


class NotSentError(UserClientError):
    """Some or all commands may not have been sent.

    The `__cause__` is the exception of the SDK, if there is one.

    `send_many(error.unsent)` sends them again under the same ids. If the queue already contains one
    of them, this has no effect.
    """

    def __init__(self, code: str, sent: Sequence[str], unsent: Sequence[CommandRequest]) -> None:
        """Store AWS's error code, the ids of the commands sent, and the other commands."""
        self.code = code
        """AWS's error code, or the class of the error if AWS did not answer."""
        self.sent = tuple(sent)
        """Ids of the commands that are on the queue, in order."""
        self.unsent = tuple(unsent)
        """The other commands in order, with the ids assigned to them."""
        count = len(self.sent) + len(self.unsent)
        super().__init__(f"{len(self.unsent)} of {count} commands not sent: {code}")

    @property
    def unsent_ids(self) -> tuple[str, ...]:
        """Ids of the commands that may not be on the queue."""
        return tuple(str(request.command_id) for request in self.unsent)


class NoAnswerError(UserClientError, TimeoutError):
    """No answer to a command within the timeout: it may arrive later, or have arrived before.

    The message also names possible causes, such as a queue that cannot be read, a subscription that
    was renewed meanwhile, or `close`.
    """


class NotListeningError(UserClientError):
    """The listener is not receiving: not started, closed, or started in another process."""
