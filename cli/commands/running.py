"""Run it: a whole system, the resources, a worker."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.commands.base import EXIT_CODES, Json, Pool, app


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
        typer.Option(
            min=1, max=65535, metavar="PORT", help="Port of the embedded AWS (default: a free one)."
        ),
    ] = None,
    pool: Annotated[Pool, typer.Option(help="Celery's pool.")] = Pool.THREADS,
    concurrency: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", help="Batches at a time.")
    ] = 2,
    timeout: Annotated[
        float,
        typer.Option(min=0.1, max=600, metavar="SECONDS", help="Seconds that --once may take."),
    ] = 60.0,
) -> int:
    """Run it all here: an AWS, its resources, a worker, live events.

    Uses the AWS of AWS_ENDPOINT_URL if that is set, such as LocalStack, and
    else one embedded in this program that forgets everything when it ends.
    Ctrl-C ends it all.

    \b
    [bold]Examples[/bold]
      user-worker dev                   then `user-worker send` elsewhere
      user-worker dev --samples         watch every kind of outcome, go on
      user-worker dev --samples --once  the same as a check, then end
    """
    from cli.dev import DevOptions, develop

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
    """Make table, queues and topic for development.

    What is there already stays. Refused when USER_WORKER_ENV is prod.

    \b
    [bold]Examples[/bold]
      AWS_ENDPOINT_URL=http://127.0.0.1:4566 user-worker provision
    """
    from cli.provision import provision_resources

    return provision_resources(as_json=as_json)


@app.command(
    epilog="[bold]Exit codes:[/bold] Celery's; 2 or 3, as of the others, if it cannot start."
)
def run(
    celery_args: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- CELERY ARGS", help="Go to `celery worker` as they are."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option("--concurrency", "-c", min=1, metavar="N", help="Batches at a time."),
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
    from cli.run import run_worker

    return run_worker(pool and pool.value, concurrency, celery_args or [])
