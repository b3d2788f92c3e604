"""`user-worker leftovers`: queues and subscriptions left behind by a killed process."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

import typer

from cli import composition, output
from cli.commands.base import EXIT_CODES, OPERATE, Json, app
from cli.layout import Rows
from cli.parsing import seconds_of
from cli.progress import TerminalProgress
from operations.printable import age_text, counted
from worker.errors import ExitCode


@app.command(epilog=EXIT_CODES, rich_help_panel=OPERATE)
def leftovers(
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="Only older than: 90s, 10m, 2h, 3d.")
    ] = "1h",
    remove: Annotated[
        bool, typer.Option("--remove", help="Delete queues that no process reads.")
    ] = False,
    as_json: Json = False,
) -> int:
    """List temporary queues, and delete orphaned ones.

    `events`, `--wait` and services that wait for outcomes create them. --remove
    sends a probe to each, waits a minute to see whether a process receives it,
    and deletes the others. It also deletes subscriptions without a queue.

    \b
    [bold]Examples[/bold]
      user-worker leftovers
      user-worker leftovers --older-than 1d --remove
    """
    from operations.orphaned_queues import TemporaryQueues, remove_orphans

    least = seconds_of("--older-than", older_than)
    aws = composition.aws()
    now = time.time()
    old = [q for q in TemporaryQueues(aws.sqs, aws.sns).queues() if now - q.made_at >= least]
    console = output.stdout()
    if remove:
        removed = remove_orphans(aws, old, TerminalProgress())
        if as_json:
            output.print_json(asdict(removed))
        else:
            text = f"deleted {counted(removed.queues, 'queue')} that no process reads"
            if removed.subscriptions:
                text += f", and {counted(removed.subscriptions, 'subscription')} without a queue"
            console.print(text)
    elif as_json:
        rows = ({**asdict(queue), "age_seconds": round(now - queue.made_at)} for queue in old)
        output.print_json(*rows)
    elif old:
        table = Rows(("queue", "age", "waiting"))
        for queue in old:
            table.add(queue.name, age_text(now - queue.made_at), str(queue.waiting))
        console.print(table)
        output.stderr().print("use --remove to delete those that no process reads", style="dim")
    else:
        console.print(f"no temporary queue is older than {older_than}", markup=False)
    return ExitCode.OK
