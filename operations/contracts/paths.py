"""Paths of schema files in the folder of the contracts."""

from __future__ import annotations

from typing import Final

COMMANDS_FOLDER: Final = "commands"
EVENTS_FOLDER: Final = "events"


def message_key(kind: str) -> str:
    """Return the name of a message in the contracts: `BanUser.v1` for `biome.user.BanUser.v1`."""
    return ".".join(kind.split(".")[2:])


def command_path(kind: str) -> str:
    """Return the path of a command's schema."""
    return f"{COMMANDS_FOLDER}/{message_key(kind)}.json"


def event_path(kind: str) -> str:
    """Return the path of an event's schema."""
    return f"{EVENTS_FOLDER}/{message_key(kind)}.json"
