"""Simulated faults of the parser: each makes a worker dead-letter valid registrations."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from application.disposition import ReceivedMessage
from application.messages import MalformedMessageError, MessageParser
from application.messages.errors import MalformedCode
from domain.commands import COMMANDS, CommandEnvelope, RegisterUser
from worker import bootstrap

UNKNOWN: Final = "unknown"
"""The table of commands lacks RegisterUser."""
REFUSED: Final = "refused"
"""The rule of first names is wrong: it accepts ASCII only."""
BROKEN: Final = "broken"
"""The parser fails with an error that it does not expect."""


class _Refusing(MessageParser):
    def parse(self, message: ReceivedMessage) -> CommandEnvelope:
        """Reject valid first names."""
        envelope = super().parse(message)
        name: str = getattr(envelope.command, "first_name", "")
        if not name.isascii():
            raise MalformedMessageError(MalformedCode.INVALID_FIELD, "data.first_name: is invalid")
        return envelope


class _Broken(MessageParser):
    def parse(self, message: ReceivedMessage) -> CommandEnvelope:
        """Fail for every registration, with its text in the error."""
        envelope = super().parse(message)
        if isinstance(envelope.command, RegisterUser):
            raise KeyError(message["body"])
        return envelope


def _without_registrations(roles: Collection[str]) -> MessageParser:
    known: Mapping[str, Any] = {k: v for k, v in COMMANDS.items() if v is not RegisterUser}
    return MessageParser(roles, known)


PARSERS: Final[dict[str, Any]] = {
    UNKNOWN: _without_registrations,
    REFUSED: _Refusing,
    BROKEN: _Broken,
}


def install_fault(fault: str) -> None:
    """Turn this process into a worker with the given fault."""
    setattr(bootstrap, "MessageParser", PARSERS[fault])  # noqa: B010  # not for mypy to know
