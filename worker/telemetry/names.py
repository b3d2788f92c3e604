"""Values of labels: as few as there are definitions, whatever messages say."""

from __future__ import annotations

from typing import Final

from domain.commands import COMMANDS
from domain.events import EVENTS

UNKNOWN: Final = "other"
"""For what has no definition of ours."""
_SHORT: Final = {kind: kind.split(".")[2] for kind in (*COMMANDS, *EVENTS)}


def short_name(message_type: str) -> str:
    """Give a command's or event's name, without domain and version."""
    return _SHORT.get(message_type, UNKNOWN)
