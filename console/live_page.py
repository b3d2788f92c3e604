"""Commands and events as they happen, and one command followed from message to event."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from console.commands import Followed
from console.web import Call
from domain.events import EVENTS


def page(call: Call) -> Response:
    """Show the newest events; the page's script adds those that follow."""
    categories = sorted({each.category for each in EVENTS.values()})
    return call.page("live.html", categories=categories, **newest_commands(call))


def newest(call: Call) -> Response:
    """Return the list of the newest commands."""
    return call.page("newest_part.html", **newest_commands(call))


def newest_commands(call: Call) -> dict[str, Any]:
    """Return the newest commands, and the one of them that is shown step by step."""
    commands = call.console.commands.newest(call.console.aws)
    return {"commands": commands, "followed": max(commands, key=_known, default=None)}


def _known(command: Followed) -> tuple[bool, bool, bool]:
    """Prefer a command that was sent from here, has arrived as an event, and was accepted."""
    return command.sent is not None, bool(command.events), command.words == "accepted"


def command(call: Call, template: str = "command.html") -> Response:
    """Show when a command was sent, decided and published, or the part that is renewed."""
    command_id, user_id = str(call.path["command_id"]), call.query.get("user") or None
    followed = call.console.commands.follow(call.console.aws, command_id, user_id)
    return call.page(template, command=followed, query=call.query)
