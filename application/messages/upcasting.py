"""Commands of versions that are no longer the newest, and the way from each to the next.

A producer sends version 1 for months after version 2 has come. Its message is checked by the
definition of version 1, fingerprinted as version 1, and then brought up, step by step, to the
command that the domain knows. The fingerprint is of what was sent, so a message that was decided
before a deployment of version 2 is known as the same after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from domain.commands import Command

Upcast: TypeAlias = Callable[[Any], Command]
"""Takes a command of one version and gives it in the next; it cannot fail."""


@dataclass(frozen=True, slots=True)
class FormerCommand:
    """A version that is still taken, though the domain knows a newer one only."""

    definition: type[Command]
    """Its fields, as they were when it was the newest."""
    upcast: Upcast


FORMER_COMMANDS: Final[Mapping[str, FormerCommand]] = {}
"""By message type. What stands here has its JSON Schema among the contracts, as before."""


def upcast(command: Command, former: Mapping[str, FormerCommand]) -> Command:
    """Give a command in its newest version: itself, if it is that already."""
    while (older := former.get(command.type)) is not None:
        command = older.upcast(command)
    return command
