"""Shell completion; it reads no settings and calls no service."""

from __future__ import annotations


def command_names(incomplete: str) -> list[str]:
    """Return the names of commands with this prefix, ignoring case."""
    from domain.commands import COMMANDS

    names = sorted(command.__name__ for command in COMMANDS.values())
    return [name for name in names if name.lower().startswith(incomplete.lower())]


def categories(incomplete: str) -> list[str]:
    """Return the categories of events with this prefix."""
    from domain.events import EVENTS

    known = sorted({event.category for event in EVENTS.values()})
    return [name for name in known if name.startswith(incomplete)]
