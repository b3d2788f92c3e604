"""The commands, one per file; each imports Celery and AWS modules only when it runs.

The order of the imports is the order in the help.
"""

# ruff: noqa: I001

from __future__ import annotations

from cli.commands.base import app as app
from cli.commands import dev as dev
from cli.commands import provision as provision
from cli.commands import run as run
from cli.commands import send as send
from cli.commands import events as events
from cli.commands import outcome as outcome
from cli.commands import replay as replay
from cli.commands import user as user
from cli.commands import import_ as import_
from cli.commands import export as export
from cli.commands import status as status
from cli.commands import health as health
from cli.commands import console as console
from cli.commands import doctor as doctor
from cli.commands import leftovers as leftovers
from cli.commands import contracts as contracts
from cli.commands import migrate as migrate
from cli.commands import permissions as permissions
from cli.commands import dlq as dlq
from cli.commands import outbox as outbox
from cli.help import use_everywhere

use_everywhere(app)
