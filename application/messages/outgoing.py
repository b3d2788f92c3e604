"""Check commands before they are sent, as the worker will check them."""

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
        """Return the key of its outcome."""
        return CommandKey(self.envelope.user_id, self.envelope.command_id)

    @property
    def group(self) -> str:
        """Return its message group on a FIFO queue: that of its user, as far as known."""
        by_email = self.envelope.by_email
        if by_email is not None:  # hashed, because a group must not contain personal data
            return hashlib.sha256(by_email.key.encode()).hexdigest()
        return self.envelope.user_id or self.envelope.command_id

    @property
    def name(self) -> str:
        """Return the command's class name."""
        return type(self.envelope.command).__name__


def check_outgoing(body: str, parser: MessageParser) -> Outgoing:
    """Parse a message's body as the worker will.

    Raises:
        MalformedMessageError: the worker would dead-letter it; the error names field and rule.
        UnknownTypeError: this version does not know the command.
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
    except UnicodeEncodeError:  # half a surrogate pair, in a part that the worker ignores
        raise MalformedMessageError(
            MalformedCode.INVALID_ENCODING, "must be valid Unicode"
        ) from None
    return Outgoing(body, envelope)
