"""Which file is whose, below the folder of the contracts."""

from __future__ import annotations

from typing import Final

COMMANDS_FOLDER: Final = "commands"
EVENTS_FOLDER: Final = "events"


def message_key(kind: str) -> str:
    """Name a message within the contracts: `BanUser.v1` for `biome.user.BanUser.v1`."""
    return ".".join(kind.split(".")[2:])


def command_path(kind: str) -> str:
    """Give the path of a command's schema."""
    return f"{COMMANDS_FOLDER}/{message_key(kind)}.json"


def event_path(kind: str) -> str:
    """Give the path of an event's schema."""
    return f"{EVENTS_FOLDER}/{message_key(kind)}.json"
