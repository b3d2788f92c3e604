"""Commands on their way out: checked as the worker will check them, before they are sent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from application.disposition import ReceivedMessage
from application.messages.commands import MessageParser
from application.messages.errors import MalformedCode, MalformedMessageError
from application.ports import CommandKey
from domain.commands import CommandEnvelope


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A command that is ready to be sent."""

    body: str
    envelope: CommandEnvelope

    @property
    def key(self) -> CommandKey:
        """Under what its outcome will be found."""
        return CommandKey(self.envelope.user_id, self.envelope.command_id)

    @property
    def group(self) -> str:
        """What is done in order on a FIFO queue: all that is about one user, as far as known."""
        by_email = self.envelope.by_email
        if by_email is not None:  # hashed: a group is no place for personal data
            return hashlib.sha256(by_email.key.encode()).hexdigest()
        return self.envelope.user_id or self.envelope.command_id

    @property
    def name(self) -> str:
        """The command's class name."""
        return type(self.envelope.command).__name__


def check_outgoing(body: str, parser: MessageParser) -> Outgoing:
    """Read a message's body as the worker will.

    Raises:
        MalformedMessageError: it would be a dead letter; says field and rule, never the value.
        UnknownTypeError: there is no such command in this version.
    """
    message = ReceivedMessage(
        message_id="",
        body=body,
        receives=1,
        sent_at=datetime.now(UTC).timestamp(),
        group_id=None,
        fifo=False,
    )
    envelope = parser.parse(message)
    try:
        body.encode()
    except UnicodeEncodeError:  # half a character, in what the worker may not even read
        raise MalformedMessageError(
            MalformedCode.INVALID_ENCODING, "must be valid Unicode"
        ) from None
    return Outgoing(body, envelope)
