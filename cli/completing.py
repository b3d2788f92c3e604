"""What the shell offers when Tab is pressed; nothing here reads a setting or calls a service."""

from __future__ import annotations


def command_names(incomplete: str) -> list[str]:
    """Give the commands that begin so, in either case."""
    from domain.commands import COMMANDS

    names = sorted(command.__name__ for command in COMMANDS.values())
    return [name for name in names if name.lower().startswith(incomplete.lower())]


def categories(incomplete: str) -> list[str]:
    """Give the events' categories that begin so."""
    from domain.events import EVENTS

    known = sorted({event.category for event in EVENTS.values()})
    return [name for name in known if name.startswith(incomplete)]
