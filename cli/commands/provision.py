"""`user-worker provision`: create the resources for development."""

from __future__ import annotations

from rich.text import Text

from cli import composition, output
from cli.commands.base import EXIT_CODES, RUN, Json, app
from cli.progress import TerminalProgress
from worker.errors import ExitCode

STYLES = {"made": "green", "found": "dim"}


@app.command(epilog=EXIT_CODES, rich_help_panel=RUN)
def provision(as_json: Json = False) -> int:
    """Create table, queues and topics for development.

    Existing resources are kept. Not allowed if USER_WORKER_ENV is prod. Warns if
    a new name is almost that of an existing resource: it may be mistyped.

    \b
    [bold]Examples[/bold]
      AWS_ENDPOINT_URL=http://127.0.0.1:4566 user-worker provision
    """
    from operations.provision import provision_resources

    made = provision_resources(composition.aws(), TerminalProgress())
    if as_json:
        output.print_json(made)
    else:
        rows = {name: Text(word, style=STYLES[word]) for name, word in made.items()}
        output.stdout().print(output.pairs(rows))
    return ExitCode.OK
