"""`user-worker dev`: an AWS, its resources, a worker and the events, in one terminal."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.text import Text

from cli import composition, output
from cli.commands.base import EXIT_CODES, RUN, Pool, app
from cli.process import WorkerProcess
from cli.progress import TerminalProgress
from operations.free_port import free_port
from operations.printable import counted, printable
from operations.signals import stop_on_signals
from worker.errors import CliError, ExitCode, UsageError

if TYPE_CHECKING:
    from console.server import ServedConsole
    from operations.event_tail import EventTail
    from operations.received_event import ReceivedEvent
    from worker.connections import Aws

POLL = 2
"""Seconds of a long poll; it limits the delay until the end of the worker is noticed."""
PAUSE = 5.0
"""Seconds between two streams of samples with --keep-going."""
_LOG_LINES = 12
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_EMULATOR = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",  # the name that the JavaScript SDK reads
}


@app.command(epilog=EXIT_CODES, rich_help_panel=RUN)
def dev(
    samples: Annotated[
        bool, typer.Option("--samples", help="Send sample commands and show their outcomes.")
    ] = False,
    once: Annotated[
        bool,
        typer.Option("--once", help="Exit after the samples; with 0 if all are as expected."),
    ] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Send new samples every few seconds.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            metavar="PORT",
            help="Port of the embedded AWS (default: a free port).",
        ),
    ] = None,
    pool: Annotated[Pool, typer.Option(help="Celery pool.")] = "threads",
    concurrency: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", help="Number of concurrent batches.")
    ] = 2,
    timeout: Annotated[
        float,
        typer.Option(min=0.1, max=600, metavar="SECONDS", help="Time limit of --once."),
    ] = 60.0,
) -> int:
    """Run everything here: AWS, its resources, a worker, live events.

    Uses the AWS of AWS_ENDPOINT_URL if it is set, for example LocalStack.
    Otherwise starts an embedded AWS, whose data is deleted at the end.
    Ctrl-C stops everything. Follows the events, and has a line for each command.

    \b
    [bold]Examples[/bold]
      user-worker dev                   then use `user-worker send`
      user-worker dev --samples         show every kind of outcome
      user-worker dev --samples --once  the same as a check, then exit
    """
    options = DevOptions(
        samples=samples or once or keep_going,
        once=once,
        keep_going=keep_going,
        port=port,
        given=os.environ.get("AWS_ENDPOINT_URL") or None,
        pool=pool,
        concurrency=concurrency,
        timeout=timeout,
    )
    _require_consistent(options)
    try:
        with stop_on_signals(), contextlib.ExitStack() as stack:
            _develop(options, stack)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED if once else ExitCode.OK
    return ExitCode.OK


@dataclass(frozen=True, slots=True)
class DevOptions:
    """Options of `dev`, and the endpoint of a given AWS."""

    samples: bool
    once: bool
    keep_going: bool
    port: int | None
    given: str | None
    pool: str
    concurrency: int
    timeout: float


def _require_consistent(options: DevOptions) -> None:
    from operations.provision import require_development
    from worker.settings import load_settings

    settings = load_settings()
    require_development(settings, "dev")
    if options.once and options.keep_going:
        raise UsageError("--once and --keep-going cannot be combined", "use one of them")
    if options.port and options.given:
        raise UsageError(
            "--port is for the embedded AWS, but AWS_ENDPOINT_URL is set",
            "omit --port, or unset it",
        )
    if options.samples and settings.repository == "memory":
        raise UsageError(
            "--samples cannot read outcomes with USER_WORKER_REPOSITORY=memory",
            "set USER_WORKER_REPOSITORY=dynamodb",
        )


def _develop(options: DevOptions, stack: contextlib.ExitStack) -> None:
    """Start everything, and show what happens until interrupted or, with `once`, until the end."""
    from cli.commands.console import NOT_INSTALLED, is_installed  # here, for the order in the help
    from cli.commands.run import celery_arguments
    from cli.demo.command_log import CommandLog
    from cli.demo.stream import SampleStream
    from operations.event_tail import EventTail
    from operations.provision import provision_resources

    tell = partial(output.stderr().print, style="dim")
    started: list[object] = []
    stack.callback(lambda: started and tell("stopped: all processes have ended"))
    if options.given:
        _give_credentials(options.given)
    else:
        started.append(stack.enter_context(_embedded_aws(options.port)))
    with_console = is_installed()
    if with_console:
        _serve_figures()
    aws = composition.aws()
    provision_resources(aws, TerminalProgress())
    log = stack.enter_context(_log_file())
    tail = stack.enter_context(EventTail(aws.sqs, aws.sns, aws.topic_arn))
    arguments = celery_arguments(aws.settings, options.pool, options.concurrency)
    worker = stack.enter_context(WorkerProcess(arguments, log))
    started.append(worker)
    stack.callback(tell, "\nstopping the worker ...")
    served = stack.enter_context(_console(aws)) if with_console else None
    _introduce(aws, worker, options, "; ".join(NOT_INSTALLED) if served is None else served.address)
    if not worker.wait_until_ready(options.timeout):
        raise _ended(worker, "did not start")
    look = partial(_look, tail, worker)
    stream = partial(SampleStream, aws, look)
    if served is not None:
        served.console.history.newest(aws, 0)  # the figures of the samples begin here
        stream = partial(stream, note_sent=served.console.commands.note_sent)
    if options.samples:
        # plain addresses may be taken on an AWS that others use, or that keeps its data
        mark = f"-{secrets.token_hex(3)}" if options.given else ""
        stream().run(mark, options.timeout, log)
    if options.once:
        return
    _print_what_next(options)
    commands = CommandLog(log)  # the samples have a table instead
    while True:
        pause_ends = time.monotonic() + PAUSE
        while time.monotonic() < pause_ends:
            look(POLL)
            _print_log(output.stdout(), commands.lines())
        if options.keep_going:
            stream().run(f"-{secrets.token_hex(3)}", options.timeout, log)
            commands.skip()


def _look(tail: EventTail, worker: WorkerProcess, wait: int) -> list[ReceivedEvent]:
    """Wait up to `wait` seconds for events, print them and return them.

    Raises:
        CliError: the worker has ended.
    """
    from cli.rendering import print_event

    if worker.process.poll() is not None:
        raise _ended(worker, "ended")
    events = tail.poll(wait)
    for event in events:
        print_event(event)
    return events


def _print_log(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(Text(printable(line), style="dim"))


def _ended(worker: WorkerProcess, what: str) -> CliError:
    _print_log(output.stderr(), worker.last_lines(_LOG_LINES))
    code = worker.process.poll()
    how = "" if code is None else f" (exit code {code})"
    return CliError(f"the worker {what}{how}", f"see its log: {worker.log}")


@contextlib.contextmanager
def _embedded_aws(port: int | None) -> Iterator[str]:
    """Run an embedded AWS, and name only this AWS in the environment; yield its endpoint."""
    from operations.embedded_aws import EmbeddedAws, EmbeddedAwsError

    output.stderr().print("starting an embedded AWS ...", style="dim")
    with contextlib.ExitStack() as stack:
        try:
            embedded = stack.enter_context(EmbeddedAws(port))
        except EmbeddedAwsError as error:
            advice = "choose another --port, or omit it" if "in use" in str(error) else ""
            raise CliError(str(error), advice) from error
        for name in list(os.environ):
            if name.startswith(("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN")):
                del os.environ[name]
        os.environ.update(_EMULATOR, AWS_ENDPOINT_URL=embedded.endpoint_url)
        yield embedded.endpoint_url


def _give_credentials(endpoint: str) -> None:
    """Set missing credentials for an emulator on this machine, which accepts any."""
    if urlsplit(endpoint).hostname in _LOOPBACK and not os.environ.get("AWS_PROFILE"):
        for name, value in _EMULATOR.items():
            os.environ.setdefault(name, value)


@contextlib.contextmanager
def _log_file() -> Iterator[Path]:
    """Yield a file for the worker's log; the file is kept after a failure."""
    directory = Path(tempfile.mkdtemp(prefix="user-worker-dev-"))
    try:
        yield directory / "worker.log"
    except KeyboardInterrupt:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    else:
        shutil.rmtree(directory, ignore_errors=True)


def _serve_figures() -> None:
    """Set the ports of the worker's health and metrics for the console, unless they are set."""
    os.environ.setdefault("USER_WORKER_HEALTH_PORT", str(free_port()))
    if "OTEL_METRICS_EXPORTER" not in os.environ:
        os.environ["OTEL_METRICS_EXPORTER"] = "prometheus"
        os.environ.setdefault("OTEL_EXPORTER_PROMETHEUS_PORT", str(free_port()))


def _console(aws: Aws) -> ServedConsole:
    """Return a console that may act, since everything here is for development."""
    from cli.commands.console import PORT, person, workers_of
    from console.access import Access, accepted_hosts, cookie_name
    from console.app import Console
    from console.overview import History
    from console.server import ServedConsole, listen

    host = "127.0.0.1"
    try:
        listening = listen(host, PORT)
    except CliError:  # in use, for example by another `dev`
        listening = listen(host, 0)
    port = listening.getsockname()[1]
    hosts, cookie = accepted_hosts(host, port), cookie_name(port)
    access = Access(hosts=hosts, person=person(), write=True, cookie=cookie)
    workers = workers_of(["127.0.0.1"], aws.settings)
    console = Console(aws, access, History(workers), watches=True)
    return ServedConsole(console, listening)


def _introduce(aws: Aws, worker: WorkerProcess, options: DevOptions, page: str) -> None:
    settings = aws.settings
    kind = "from AWS_ENDPOINT_URL" if options.given else "embedded; its data is deleted at the end"
    console = output.stdout()
    batches = counted(options.concurrency, "concurrent batch", "concurrent batches")
    console.print(
        output.pairs(
            {
                "AWS": f"{os.environ['AWS_ENDPOINT_URL']} ({kind})",
                "commands": f"queue {settings.command_queue}, "
                f"dead letters in {settings.dead_letter_queue}",
                "users": f"table {settings.table}",
                "events": f"topic {settings.events_topic}; with e-mail addresses, "
                f"topic {settings.personal_topic}",
                "worker": f"celery, {batches} ({options.pool}), process {worker.process.pid}",
                "log": str(worker.log),
                "console": page,
            }
        )
    )
    console.print()
    console.print("[cyan]->[/cyan] commands in   [green]<-[/green] events out")


def _print_what_next(options: DevOptions) -> None:
    console = output.stdout()
    console.print()
    console.print("Following the events; Ctrl-C stops everything. In another terminal:")
    names = ["AWS_ENDPOINT_URL"] if options.given else ["AWS_ENDPOINT_URL", *_EMULATOR]
    for line in (
        "export " + " ".join(f"{name}={os.environ[name]}" for name in names),
        (
            ".venv/bin/user-worker send CreateUser email=alan@example.com first_name=Alan "
            "last_name=Turing roles=customer --wait 10"
        ),
        ".venv/bin/user-worker user alan@example.com --history",
    ):
        console.print(f"  {line}", markup=False, soft_wrap=True)  # one line, to be copied
    console.print()
