"""`user-worker doctor`: check the installation and the environment."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.text import Text

from cli import output
from cli.commands.base import OPERATE, Json, app
from cli.layout import Labelled
from operations.printable import printable
from worker.errors import ExitCode

if TYPE_CHECKING:
    from worker.resources.finding import Finding

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}
"""Styles by level."""
WIDTH = 24
"""Column width for names of checks; names of resources may be longer."""


@app.command(
    epilog="[bold]Exit codes:[/bold] 0 no check failed, warnings or not; 3 a check failed.",
    rich_help_panel=OPERATE,
)
def doctor(as_json: Json = False) -> int:
    """Check the installation and its environment, with advice.

    Checks the installation, the settings, credentials, the clock, queues,
    topics, table and permissions; changes nothing. Prints one line per check.

    \b
    [bold]Examples[/bold]
      user-worker doctor
      user-worker doctor --json | jq 'select(.level != "ok")'
    """
    from operations.doctor.examination import examine
    from worker.resources.finding import Level

    levels: list[Level] = []
    console = output.stdout()
    for finding in examine():
        levels.append(finding.level)
        if as_json:
            output.print_json(asdict(finding))
        else:
            console.print(_line(finding))
    if not as_json:
        counts = (f"{levels.count(level)} {level}" for level in Level)
        console.print(Text(", ".join(counts), style="dim"))
    return ExitCode.ENVIRONMENT if Level.FAIL in levels else ExitCode.OK


def _line(finding: Finding) -> Labelled:
    level = (f"{finding.level:<5}", STYLES[finding.level.value])
    text = Text(printable(finding.text))
    if finding.advice:
        text.append(f"; {printable(finding.advice)}", style="bold")
    return Labelled(Text.assemble(level, f"{finding.check:<{WIDTH}} "), text)
