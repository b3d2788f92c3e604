"""Errors of sending commands and of waiting for their answers.

No text here holds a value that was to be sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from user_client.commands import CommandRequest

MOST_SHOWN = 5
"""Problems listed in one text; all are in `InvalidCommandError.problems`."""


class UserClientError(Exception):
    """Base of what this package raises."""


class InvalidCommandError(UserClientError, ValueError):
    """A command breaks a rule; nothing of what was to be sent with it has left."""

    def __init__(self, problems: Sequence[tuple[int, str]]) -> None:
        """Keep the problems: the command's position in what was to be sent, field and rule."""
        self.problems = tuple(problems)
        """By the command's place, from 0: which field breaks which rule."""
        told = [f"command {place}: {detail}" for place, detail in self.problems[:MOST_SHOWN]]
        if len(self.problems) > MOST_SHOWN:
            told.append(f"and {len(self.problems) - MOST_SHOWN} more")
        super().__init__("; ".join(told))


class NotSentError(UserClientError):
    """Some commands, or all, may not have been sent.

    The `__cause__` is what the SDK raised, if it raised anything.

    `send_many(error.unsent)` sends them again, under the same ids: should the queue have one of
    them already, that changes nothing.
    """

    def __init__(self, code: str, sent: Sequence[str], unsent: Sequence[CommandRequest]) -> None:
        """Keep AWS's code, the ids of what was sent, and the rest."""
        self.code = code
        """AWS's own code, or the class of the error when AWS did not answer."""
        self.sent = tuple(sent)
        """Ids of the commands that are on the queue, in order."""
        self.unsent = tuple(unsent)
        """The others in order, with the ids that they have got."""
        count = len(self.sent) + len(self.unsent)
        super().__init__(f"{len(self.unsent)} of {count} commands not sent: {code}")

    @property
    def unsent_ids(self) -> tuple[str, ...]:
        """Ids of the commands that may not be on the queue."""
        return tuple(str(request.command_id) for request in self.unsent)


class NoAnswerError(UserClientError, TimeoutError):
    """No answer to a command in the time given: it may still come, or have come before.

    The text also names what may have kept it away, such as a queue that cannot be read, a
    subscription that had to be renewed meanwhile, or `close`.
    """


class NotListeningError(UserClientError):
    """The listener hears nothing: not started, closed, or started in another process."""
