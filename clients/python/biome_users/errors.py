"""Errors of this library. No message contains a value of a command or an event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from biome_users.sender import CommandRequest


class UsersError(Exception):
    """Base class of this library's errors."""


MOST_SHOWN = 5
"""Problems that a message lists at most; `InvalidCommandError.problems` has all of them."""


class InvalidCommandError(UsersError, ValueError):
    """Commands or their envelopes break rules of the contract; nothing was sent."""

    def __init__(self, *problems: str) -> None:
        """Store the problems, each with the name of the field and the rule."""
        self.problems = problems
        shown = problems[:MOST_SHOWN]
        more = len(problems) - len(shown)
        super().__init__("; ".join([*shown, *([f"and {more} more"] if more else [])]))


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
        noun = "command" if count == 1 else "commands"
        super().__init__(f"{len(self.unsent)} of {count} {noun} not sent: {code}")

    @property
    def unsent_ids(self) -> tuple[str, ...]:
        """Ids of the commands that may not be on the queue."""
        return tuple(str(request.command_id) for request in self.unsent)


class NoAnswerError(UsersError, TimeoutError):
    """No answer to a command within the timeout: it may arrive later, or have arrived before.

    The message also names possible causes, such as a queue that cannot be read, a subscription that
    was renewed meanwhile, or `close`.
    """


class NotListeningError(UsersError):
    """The listener is not receiving: not started, closed, or started in another process."""


class NotSubscribedError(UsersError):
    """AWS accepted the calls, but the subscription is not active; the message says why."""


class UnavailableError(UsersError):
    """A read failed: try again. `__cause__` is the exception of the SDK, if there is one."""


class UnreadableError(UsersError):
    """A stored item cannot be read: damaged, or of a later format than this version knows.

    Do not treat it as an answer: such a user must neither be let in nor be treated as unknown.
    """


class RefusedError(UsersError):
    """The worker rejected a command, or a login was refused; `code` is the reason."""

    def __init__(self, code: str) -> None:
        """Store the code, such as EmailTaken or WrongEmailOrPassword."""
        self.code = code
        super().__init__(code)


class SessionRefusedError(RefusedError):
    """A session may not continue; `code` is a value of `SessionRefusal`."""
