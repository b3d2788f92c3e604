"""`user-worker permissions`: validate and explain a file of permissions, and deploy it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli import output
from cli.commands.base import EXIT_CODES, Json, add_group
from worker.errors import ExitCode

permissions_app = add_group(
    "permissions",
    "Validate the file that states who may send what, and deploy it.\n\n"
    "\b\n"
    "[bold]Examples[/bold]\n"
    "  user-worker permissions check deploy/permissions.toml\n"
    "  user-worker permissions template deploy/permissions.toml",
)


@permissions_app.command(epilog=EXIT_CODES)
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File of permissions, in TOML.")],
    as_json: Json = False,
) -> int:
    """Validate a file of permissions, and show what each producer may send.

    The file is checked against the settings: its queues and roles must be listed there.

    \b
    [bold]Example[/bold]
      user-worker permissions check deploy/permissions.toml
    """
    from worker.permissions import read_permissions
    from worker.settings import load_settings

    permissions = read_permissions(file, load_settings())
    if as_json:
        output.print_json(asdict(permissions))
        return ExitCode.OK
    console = output.stdout()
    if permissions.allow_all:
        console.print("Every sender may send every command.", style="yellow")
        return ExitCode.OK
    for producer in permissions.producers:
        facts = {name: value for name, value in asdict(producer).items() if name != "name"}
        console.print(f"[bold]{producer.name}[/bold]")
        console.print(
            output.pairs({name: ", ".join(value) or "-" for name, value in facts.items()})
        )
        console.print()
    console.print(output.pairs({"operators": ", ".join(permissions.operators) or "-"}))
    return ExitCode.OK


@permissions_app.command(epilog=EXIT_CODES)
def template(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File of permissions, in TOML.")],
) -> int:
    """Print a CloudFormation template of the queues and policies that a file needs.

    It has the queues that the file names, except those of resources.yaml;
    for each queue a policy by which only its producers and the operators
    can send; and for each producer an IAM policy. Set
    USER_WORKER_COMMAND_QUEUE and USER_WORKER_PRIORITY_QUEUE to the names
    in the stack of resources.yaml.

    \b
    [bold]Example[/bold]
      user-worker permissions template deploy/permissions.toml > deploy/queues.yaml
    """
    from operations.queue_template import render_template
    from worker.permissions import read_with_queues

    permissions, settings = read_with_queues(file)
    sys.stdout.write(render_template(permissions, settings, file))
    return ExitCode.OK
