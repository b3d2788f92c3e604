"""The application that all commands are added to, and options that they share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

app = typer.Typer(
    name="user-worker",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="[bold]Start here:[/bold]  user-worker dev --samples   "
    "[bold]Stuck:[/bold]  user-worker doctor",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]
User = Annotated[str | None, typer.Option("--user", metavar="UUID", help="The user's id.")]
Wait = Annotated[
    float | None,
    typer.Option("--wait", min=0, max=3600, metavar="SECONDS", help="Wait for the outcome."),
]
Pool = Literal["prefork", "threads", "solo"]
"""Celery pools that the worker supports."""
RUN = "Run"
MESSAGES = "Send and inspect"
BULK = "Bulk import and export"
OPERATE = "Operate"
"""Panels of the help."""
EXIT_CODES = (
    "[bold]Exit codes:[/bold] 0 success; 1 negative result (rejected, not found); "
    "2 usage error, nothing sent; 3 a setting, a resource or AWS is unavailable; 4 timeout."
)


def add_group(name: str, help_text: str) -> typer.Typer:
    """Add a group of commands to the panel of operations, and return it."""
    group = typer.Typer(
        name=name,
        no_args_is_help=True,
        rich_markup_mode="rich",
        epilog=EXIT_CODES,
        help=help_text,
    )
    app.add_typer(group, rich_help_panel=OPERATE)
    return group


def _print_version(wanted: bool) -> None:
    if wanted:
        import platform
        from importlib.metadata import version

        celery = version("celery")
        typer.echo(
            f"user-worker {version('user-worker')} "
            f"(Python {platform.python_version()}, Celery {celery})"
        )
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", envvar="USER_WORKER_DEBUG", help="Show the traceback of an error."),
    ] = False,
) -> None:
    """Process user commands from SQS and publish user events to SNS.

    \b
    AWS is configured by the variables of its SDK: AWS_DEFAULT_REGION,
    AWS_PROFILE, AWS_ENDPOINT_URL, ... The worker's settings are USER_WORKER_...
    Run `user-worker COMMAND --help` for examples.
    """
    if debug:
        import os

        os.environ["USER_WORKER_DEBUG"] = "1"
