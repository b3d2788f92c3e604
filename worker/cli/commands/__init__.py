"""What can be typed: names, options and help. The work is elsewhere, and imported when done.

The order of the imports is that of the help.
"""

# ruff: noqa: I001

from __future__ import annotations

from worker.cli.commands.base import app as app
from worker.cli.commands import running as running
from worker.cli.commands import messages as messages
from worker.cli.commands import operating as operating
