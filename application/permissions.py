"""Decide which producer sent a message, and whether it may send this command.

The permissions are read from a TOML file once, at the start. A producer is recognised by what it
cannot forge: the queue that the message came from, and the principal that SQS reports for the
sender. The message itself, its attributes included, is written by the sender and proves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from application.disposition import ReceivedMessage
from domain.commands import AssignRole, CommandEnvelope, CreateUser

ANY: Final = "*"
NOT_PERMITTED: Final = "NotPermitted"
"""The `error_code` of a dead letter whose sender may not send the command."""
MAX_SENDERS: Final = 1_000
"""Senders whose producer is remembered; an operator may state any principal in a redrive."""


class NotPermittedError(Exception):
    """The sender may not send this command; `detail` names the producer and the rule."""

    def __init__(self, detail: str) -> None:
        """Set the detail, which contains no value of the message except names of commands."""
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Producer:
    """A service that may send commands. In each list, `*` stands for everything."""

    name: str
    queues: tuple[str, ...]
    """Command queues that it sends to."""
    principals: tuple[str, ...]
    """Unique ids of IAM roles or users, as SQS's SenderId states them before a colon."""
    sources: tuple[str, ...]
    """Values of the attribute `source`."""
    commands: tuple[str, ...]
    """Names of commands, without the version."""
    roles: tuple[str, ...] = ()
    """Roles that it may grant."""

    def sent(self, queue: str, principal: str) -> bool:
        """Return True if a message is of this producer."""
        return _includes(self.queues, queue) and _includes(self.principals, principal)


@dataclass(frozen=True, slots=True)
class Permissions:
    """The commands that each producer may send."""

    producers: tuple[Producer, ...] = ()
    operators: tuple[str, ...] = ()
    """Principals that redrive dead letters: the first principal that they state is trusted."""
    allow_all: bool = False
    """Whether any sender may send any command."""
    _found: dict[tuple[str, str], Producer | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Results of `producer_of` by queue and principal: a file may have a hundred producers."""

    def sends_to(self, queue: str) -> bool:
        """Return True if any producer may send to a queue."""
        return any(_includes(each.queues, queue) for each in self.producers)

    def producer_of(self, message: ReceivedMessage) -> Producer | None:
        """Return the producer of a message; `None` if it is not known."""
        sender = message.get("queue", ""), self.principal_of(message)
        if sender in self._found:
            return self._found[sender]
        found = next((each for each in self.producers if each.sent(*sender)), None)
        if len(self._found) < MAX_SENDERS:
            self._found[sender] = found
        return found

    def principal_of(self, message: ReceivedMessage) -> str:
        """Return the principal that first sent a message; empty if SQS reports none.

        A redrive is sent by an operator, who states the first principal. What any other sender
        states is ignored.
        """
        principal, stated = message.get("principal", ""), message.get("first_principal")
        if stated is not None and self.allow_all:
            return ""  # it is not known who the operators are
        return stated if stated is not None and principal in self.operators else principal

    def check(self, message: ReceivedMessage, envelope: CommandEnvelope) -> str | None:
        """Return the name of the producer; `None` if every sender may send everything.

        Raises:
            NotPermittedError: the sender is not known, or may not send this command.
        """
        if self.allow_all:
            return None
        producer = self._permitted(message, envelope.type, envelope.source)
        if not all(_includes(producer.roles, role) for role in _granted(envelope)):
            raise NotPermittedError(f"{producer.name} may not grant one of the roles")
        return producer.name

    def allows(self, message: ReceivedMessage, command_type: str, source: str) -> bool:
        """Return True if the sender may send such a command; the roles it grants do not count."""
        try:
            return self.allow_all or bool(self._permitted(message, command_type, source))
        except NotPermittedError:
            return False

    def _permitted(self, message: ReceivedMessage, command_type: str, source: str) -> Producer:
        producer = self.producer_of(message)
        if producer is None:
            raise NotPermittedError("the sender is not a producer of the permissions file")
        command = command_type.split(".")[2]
        if not _includes(producer.commands, command):
            raise NotPermittedError(f"{producer.name} may not send {command}")
        if not _includes(producer.sources, source):
            raise NotPermittedError(f"source: {producer.name} may not send as this source")
        return producer


ALLOW_ALL: Final = Permissions(allow_all=True)


def _includes(allowed: Sequence[str], value: str) -> bool:
    return ANY in allowed or value in allowed


def _granted(envelope: CommandEnvelope) -> tuple[str, ...]:
    """Return the roles that a command grants."""
    match envelope.command:
        case AssignRole(role=role):
            return (role,)
        case CreateUser(roles=roles):
            return roles
        case _:
            return ()
