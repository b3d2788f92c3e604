"""Fakes for the unit tests of a service: no AWS and no worker."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any
from uuid import UUID

from biome_users._models import Command, EventData
from biome_users.events import Event, parse_event
from biome_users.sender import CommandRequest, UserCommands


class FakeUserCommands(UserCommands):
    """Keeps commands in `sent` in place of a queue; checks them as `UserCommands` does.

    Set `error` to an exception, such as a NotSentError, to make the next call fail with it.
    """

    def __init__(self, source: str = "/test") -> None:
        """Set the source of the commands."""
        super().__init__(source=source)
        self.sent: list[CommandRequest] = []
        self.error: Exception | None = None

    def send_many(self, requests: Iterable[CommandRequest]) -> list[str]:
        """Check and keep commands; return their ids.

        Raises:
            InvalidCommandError: a command is invalid.
            Exception: the `error` that the test has set.
        """
        entries = [self._entry(place, request) for place, request in enumerate(requests)]
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        self.sent += [entry.request for entry in entries]
        return [str(entry.request.command_id) for entry in entries]

    def commands(self, kind: type[Command] | None = None) -> list[Command]:
        """Return the commands that were sent, of one class or of all, in order."""
        return [r.command for r in self.sent if kind is None or isinstance(r.command, kind)]


def sample_event(
    kind: type[EventData],
    *,
    user_id: UUID | str | None = None,
    sequence: int | None = None,
    **data: Any,
) -> Event:
    """Return an event of a type, with the values of the contract's example.

    Args:
        kind: the class of the event's fields, such as `UserRegistered`.
        user_id: replaces the example's user.
        sequence: replaces the example's sequence.
        **data: replace values of the example's fields.

    Raises:
        InvalidEventError: a value breaks a rule of the contract.
    """
    return parse_event(sample_body(kind, user_id=user_id, sequence=sequence, **data))


def sample_body(
    kind: type[EventData],
    *,
    user_id: UUID | str | None = None,
    sequence: int | None = None,
    **data: Any,
) -> str:
    """Return an event as the body of an SQS message; see `sample_event` for the arguments."""
    event = json.loads(_samples()[kind.message_type])
    event["data"] |= data
    if user_id is not None:
        event["subject"] = str(UUID(str(user_id)))
    if sequence is not None:
        event["sequence"] = f"{sequence:020d}"
    return json.dumps(event, ensure_ascii=False)


@cache
def _samples() -> dict[str, str]:
    text = files("biome_users").joinpath("sample_events.json").read_text("utf-8")
    return {kind: json.dumps(event) for kind, event in json.loads(text).items()}
