"""Commands of the client, from those of the domain that the builders of the tests create."""

from __future__ import annotations

import dataclasses
from typing import Any

from biome_users import Command, commands
from domain.commands import Command as DomainCommand


def of_client(command: DomainCommand) -> Command:
    """Return the client's command with the values of a command of the domain."""
    each: Any = command  # a dataclass
    values = {field.name: getattr(each, field.name) for field in dataclasses.fields(each)}
    given = {name: _plain(value) for name, value in values.items() if value is not None}
    made: Command = getattr(commands, type(command).__name__)(**given)
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return getattr(value, "value", value)
