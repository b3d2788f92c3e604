"""What can be typed: names, options and help. The work is elsewhere, and imported when done."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

app = typer.Typer(
    name="user-worker",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="[bold]Start here:[/bold]  user-worker dev --samples",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, a line each, for programs.")]
User = Annotated[str | None, typer.Option("--user", help="The user's id (UUID).")]
Wait = Annotated[
    float | None,
    typer.Option("--wait", min=0, max=3600, metavar="SECONDS", help="Wait for the outcome."),
]
EXIT_CODES = (
    "[bold]Exit codes:[/bold] 0 done; 1 the answer is no (rejected, not found); "
    "2 mistyped, nothing sent; 3 a setting, a resource or AWS is missing; 4 no answer in time."
)


class Pool(StrEnum):
    """Celery's pools that the worker knows."""

    PREFORK = "prefork"
    THREADS = "threads"
    SOLO = "solo"


@app.callback()
def main(
    debug: Annotated[
        bool,
        typer.Option("--debug", envvar="USER_WORKER_DEBUG", help="Show where an error comes from."),
    ] = False,
) -> None:
    """Keep users: commands in by SQS, events out by SNS.

    AWS is found by the SDK's own variables (AWS_DEFAULT_REGION, AWS_ENDPOINT_URL, AWS_PROFILE,
    ...), the worker's settings are USER_WORKER_...; `user-worker COMMAND --help` has examples.
    """
    if debug:
        import os

        os.environ["USER_WORKER_DEBUG"] = "1"


@app.command(epilog=EXIT_CODES)
def dev(
    samples: Annotated[
        bool, typer.Option("--samples", help="Send sample commands and show how each ends.")
    ] = False,
    once: Annotated[
        bool,
        typer.Option("--once", help="End when every sample has ended; 0 if all as they should."),
    ] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Send new samples every few seconds.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port of the embedded AWS (default: a free one)."),
    ] = None,
    pool: Annotated[Pool, typer.Option(help="Celery's pool.")] = Pool.THREADS,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Batches at a time.")] = 2,
    timeout: Annotated[
        float, typer.Option(min=1, max=600, help="Seconds that --once may take.")
    ] = 60.0,
) -> int:
    """Run everything here: an AWS, its resources, a worker, and a live view of the events.

    Uses the AWS of AWS_ENDPOINT_URL if that is set, such as LocalStack, and else one embedded
    in this program that forgets everything when it ends. Ctrl-C ends it all.

    \b
    [bold]Examples[/bold]
      user-worker dev                   then `user-worker send` elsewhere
      user-worker dev --samples         watch every kind of outcome, go on
      user-worker dev --samples --once  the same as a check, then end
    """
    from worker.cli.dev import DevOptions, develop

    return develop(
        DevOptions(
            samples=samples or once or keep_going,
            once=once,
            keep_going=keep_going,
            port=port,
            pool=pool.value,
            concurrency=concurrency,
            timeout=timeout,
        )
    )


@app.command(epilog=EXIT_CODES)
def provision(as_json: Json = False) -> int:
    """Make the table, the queues and the topic for development; what is there already stays.

    Refused when USER_WORKER_ENV is prod.

    \b
    [bold]Examples[/bold]
      AWS_ENDPOINT_URL=http://127.0.0.1:4566 user-worker provision
    """
    from worker.cli.provision import provision_resources

    return provision_resources(as_json=as_json)


@app.command(epilog="The exit code is Celery's.")
def run(
    celery_args: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- CELERY ARGS...]", help="Go to `celery worker` as they are."),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", "-c", min=1, help="Batches at a time.")
    ] = None,
    pool: Annotated[
        Pool | None,
        typer.Option("--pool", "-P", help="prefork; threads with the memory repository."),
    ] = None,
) -> int:
    """Run a worker: `celery -A worker.app worker` with good defaults.

    \b
    [bold]Examples[/bold]
      user-worker run
      user-worker run --concurrency 4 -- --max-tasks-per-child 1000
    """
    from worker.cli.run import run_worker

    return run_worker(pool and pool.value, concurrency, celery_args or [])


@app.command(epilog=EXIT_CODES)
def send(
    command: Annotated[
        str | None,
        typer.Argument(help="RegisterUser, or biome.user.RegisterUser.v1; - reads standard input."),
    ] = None,
    pairs: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="The command's fields.")
    ] = None,
    data: Annotated[str | None, typer.Option("--data", help="The fields as a JSON object.")] = None,
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", help="JSON, a JSON array or JSON lines; - is standard input."),
    ] = None,
    user: User = None,
    command_id: Annotated[
        str | None, typer.Option("--id", help="The command's id (UUID); a new one if left out.")
    ] = None,
    correlation_id: Annotated[
        str | None, typer.Option("--correlation-id", help="Goes into the command's events.")
    ] = None,
    expected_version: Annotated[
        int | None,
        typer.Option("--expected-version", min=0, help="Reject if the user's version differs."),
    ] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="Who asks for it.")] = None,
    source: Annotated[
        str, typer.Option("--source", help="Where it comes from (a URI reference).")
    ] = "/user-worker/cli",
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            help="The message group. FIFO: what keeps its order (default: the user). "
            "Standard: who shares the queue fairly (default: none).",
        ),
    ] = None,
    wait: Wait = None,
    as_json: Json = False,
) -> int:
    """Send commands to the queue, checked before the first one leaves.

    Prints their ids, a line each, or with --wait how they ended.

    \b
    [bold]Examples[/bold]
      user-worker send CreateUser email=ada@example.com first_name=Ada
            last_name=Lovelace roles=customer,admin --wait 10
      user-worker send AssignRole role=admin --user UUID
      user-worker send BanUser --user UUID --data '{"reason": "fraud"}'
      user-worker send --file commands.jsonl
      echo '{"type": "UnbanUser", "user_id": "UUID"}' | user-worker send -

    A line of such a file is {"type", "data", "id"?, "user_id"?} or a whole CloudEvent.
    """
    from worker.cli.send import SendOptions, send_commands

    extensions = {
        "correlationid": correlation_id,
        "expectedversion": expected_version,
        "actor": actor,
    }
    return send_commands(
        SendOptions(
            command=command,
            pairs=pairs or [],
            data=data,
            file=file,
            user_id=user,
            command_id=command_id,
            source=source,
            extensions=extensions,
            group=group,
            wait=wait,
            as_json=as_json,
        )
    )


@app.command(epilog=EXIT_CODES)
def events(
    category: Annotated[
        str | None,
        typer.Option(help="Only this category: registration, profile, email, ..., command."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
    as_json: Json = False,
) -> int:
    """Follow what comes out of the topic, until Ctrl-C.

    It subscribes a queue of its own, and removes it at the end.

    \b
    [bold]Examples[/bold]
      user-worker events
      user-worker events --category command --json | jq .data.code
    """
    from worker.cli.events import follow

    return follow(category=category, limit=limit, as_json=as_json)


@app.command(epilog=EXIT_CODES)
def outcome(
    command_id: Annotated[str, typer.Argument(help="The command's id.")],
    user: User = None,
    wait: Wait = None,
    as_json: Json = False,
) -> int:
    """Show how a command ended.

    Without --user it finds those that named no user: a registration, or a password reset by
    e-mail address.

    \b
    [bold]Examples[/bold]
      user-worker outcome COMMAND_ID --user USER_ID --wait 10
    """
    from worker.cli.show import show_outcome

    return show_outcome(command_id, user_id=user, wait=wait, as_json=as_json)


@app.command(epilog=EXIT_CODES)
def user(
    user: Annotated[str, typer.Argument(metavar="USER_ID|EMAIL", help="Who.")],
    history: Annotated[bool, typer.Option("--history", help="Also how their commands ended.")] = (
        False
    ),
    as_json: Json = False,
) -> int:
    """Show a user as stored; of secrets only whether they are set.

    \b
    [bold]Examples[/bold]
      user-worker user ada@example.com --history
    """
    from worker.cli.show import show_user

    return show_user(user, history=history, as_json=as_json)


@app.command(epilog=EXIT_CODES)
def status(as_json: Json = False) -> int:
    """Show queues, dead letters, outbox, table and topic; 3 if something is missing.

    \b
    [bold]Examples[/bold]
      user-worker status --json | jq .dead_letters
    """
    from worker.cli.status import show_status

    return show_status(as_json=as_json)
