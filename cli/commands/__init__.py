"""What can be typed: names, options and help. The work is elsewhere, and imported when done.

The order of the imports is that of the help, in which each module has a panel.
"""

# ruff: noqa: I001

from __future__ import annotations

from cli.commands.base import app as app
from cli.commands import running as running
from cli.commands import messages as messages
from cli.commands import bulk as bulk
from cli.commands import operating as operating
from cli.commands import contracts as contracts
from cli.commands import migrating as migrating
from cli.commands import dlq as dlq
from cli.commands import outbox as outbox

PANELS = {
    running.__name__: "Run",
    messages.__name__: "Send and see",
    bulk.__name__: "Many at once, and all of one",
}
for _command in app.registered_commands:
    _command.rich_help_panel = PANELS.get(getattr(_command.callback, "__module__", ""), "Operate")
