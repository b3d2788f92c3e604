"""Former versions of commands, and the upcast from each version to the next.

Producers may send version 1 for months after the release of version 2. Such a message is validated
by the definition of version 1, fingerprinted as version 1, and then upcast, step by step, to the
command that the domain knows. The fingerprint is that of the message as sent, so a message that was
decided before the deployment of version 2 is recognized as a duplicate after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from domain.commands import COMMANDS, Command

Upcast: TypeAlias = Callable[[Any], Command]
"""Convert a command to the next version; must not fail."""


@dataclass(frozen=True, slots=True)
class FormerCommand:
    """A version that is still accepted, although the domain knows only a newer one."""

    definition: type[Command]
    """Its fields, as they were when it was the newest."""
    upcast: Upcast


FORMER_COMMANDS: Final[Mapping[str, FormerCommand]] = {}
"""By message type. The contracts keep the JSON Schema of each."""


def known_commands(
    commands: Mapping[str, type[Command]], former: Mapping[str, FormerCommand]
) -> dict[str, type[Command]]:
    """Return the commands of all accepted versions by message type."""
    return {**commands, **{kind: old.definition for kind, old in former.items()}}


KNOWN_COMMANDS: Final[Mapping[str, type[Command]]] = known_commands(COMMANDS, FORMER_COMMANDS)


def upcast(command: Command, former: Mapping[str, FormerCommand]) -> Command:
    """Return a command in its newest version."""
    while (older := former.get(command.type)) is not None:
        command = older.upcast(command)
    return command
