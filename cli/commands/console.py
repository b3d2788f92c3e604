"""`user-worker console`: a web page that shows the system and lets operators act."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli import composition, output
from cli.commands.base import EXIT_CODES, OPERATE, app
from operations.signals import stop_on_signals
from worker.errors import CliError, ExitCode, UsageError

if TYPE_CHECKING:
    from console.workers import Workers
    from worker.settings import Settings

PASSWORD: Final = "USER_WORKER_CONSOLE_PASSWORD"  # noqa: S105 - the name of the variable
PORT: Final = 8600
SHORTEST_PASSWORD: Final = 16
PACKAGES: Final = ("jinja2", "prometheus_client", "starlette", "uvicorn")
"""Packages of the extra `console`, by the names under which they are imported."""
_HEADER: Final = re.compile(r"[A-Za-z0-9-]+")
_PUBLIC_HOST: Final = re.compile(r"[A-Za-z0-9._-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?")
_EVERYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared only
_SENT_BY_BROWSERS: Final = frozenset(
    {
        *("accept", "accept-encoding", "accept-language", "cache-control", "connection"),
        *("content-length", "content-type", "cookie", "host", "origin", "referer", "user-agent"),
    }
)
"""Headers of requests that no proxy has authenticated."""
NOT_INSTALLED: Final = (
    "the packages of the console are not installed",
    "pip install 'user-worker[console]'",
)
"""An error and its advice."""


@app.command(epilog=EXIT_CODES, rich_help_panel=OPERATE)
def console(
    write: Annotated[
        bool, typer.Option("--write", help="Permit actions; each is logged with its person.")
    ] = False,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = (
        "127.0.0.1"
    ),
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Port; 0 is a free port.")
    ] = PORT,
    public_host: Annotated[
        str | None,
        typer.Option(metavar="HOST", help="Host header that a proxy in front passes on."),
    ] = None,
    proxy_header: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Header in which that proxy names the person."),
    ] = None,
    workers: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST",
            help="Workers to show, by host name or address; repeatable. A name with several "
            "addresses stands for several workers.",
        ),
    ] = None,
    as_person: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Person recorded with each action.")
    ] = None,
) -> int:
    """Serve a web page to see the system and to act on it.

    The printed address contains a token that opens the page. To listen on another
    address than 127.0.0.1, set USER_WORKER_CONSOLE_PASSWORD, or use a proxy that
    authenticates. Without --write, nothing can be changed.

    With --workers, the overview shows the health of the workers
    (USER_WORKER_HEALTH_PORT) and, if they export metrics for Prometheus
    (OTEL_EXPORTER_PROMETHEUS_PORT), commands per second and critical time.

    \b
    [bold]Examples[/bold]
      user-worker console
      user-worker console --write --as ada
      user-worker console --workers workers.internal
    """
    if not is_installed():
        raise CliError(*NOT_INSTALLED)
    from console.access import Access, accepted_hosts, cookie_name
    from console.app import Console
    from console.overview import History
    from console.server import ServedConsole, listen
    from worker import logs

    password = os.environ.get(PASSWORD) or None
    _check_access(host, public_host, proxy_header, password)
    named = person() if as_person is None else _checked_person(as_person)
    aws = composition.aws()
    logs.configure(aws.settings.log_format, aws.settings.log_level)
    listening = listen(host, port)
    address, own_port = listening.getsockname()[:2]
    hosts = accepted_hosts(host, own_port, public_host)
    access = Access(
        hosts=hosts | accepted_hosts(address, own_port),  # the printed address has no name
        person=named,
        write=write,
        cookie=cookie_name(own_port),
        password=password,
        proxy_header=proxy_header.lower() if proxy_header else None,
    )
    shown = Console(aws, access, History(workers_of(workers or (), aws.settings)))
    try:
        with stop_on_signals(), ServedConsole(shown, listening) as served:
            output.stderr().print(f"console: {served.address}", soft_wrap=True)
            output.stderr().print("Ctrl-C stops it.", style="dim")
            served.wait()
    except KeyboardInterrupt:
        pass
    return ExitCode.OK


def _check_access(
    host: str, public_host: str | None, proxy_header: str | None, password: str | None
) -> None:
    """Raise UsageError if everyone or no one could open the console."""
    from console.access import is_loopback

    if proxy_header is not None:
        if not _HEADER.fullmatch(proxy_header):
            raise UsageError("--proxy-header is not the name of a header", "correct it")
        if proxy_header.lower() in _SENT_BY_BROWSERS:
            raise UsageError(
                f"every browser sends the header {proxy_header}",
                "use a header that only the proxy sets",
            )
        if password is not None:
            raise UsageError(f"{PASSWORD} and --proxy-header cannot be combined", "use one")
    if not is_loopback(host) and password is None and proxy_header is None:
        raise UsageError(
            f"on {host or 'all addresses'} others can open the console",
            f"set {PASSWORD}, or name the header of an authenticating proxy (--proxy-header)",
        )
    if password is not None and len(password) < SHORTEST_PASSWORD:
        raise UsageError(
            f"{PASSWORD} is shorter than {SHORTEST_PASSWORD} characters", "use a generated one"
        )
    if password is not None and not password.isprintable():
        raise UsageError(
            f"{PASSWORD} contains a character that cannot be typed",
            "remove control characters, such as a line break at its end",
        )
    if public_host is not None and not _PUBLIC_HOST.fullmatch(public_host):
        raise UsageError(
            "--public-host is not a value of the Host header",
            "write it without scheme and path: console.example.com, or with :PORT",
        )
    if public_host is None and host in _EVERYWHERE:
        raise UsageError(
            "on all addresses the console does not know its name",
            "add --public-host with the host, and the port if it is not 80 or 443, of its URL",
        )


def _checked_person(name: str) -> str:
    from application.messages.attributes import check_actor
    from domain.errors import InvalidValueError

    try:
        return check_actor(name)
    except InvalidValueError as error:
        raise UsageError(f"--as {error}", "correct it") from None


def is_installed() -> bool:
    """Return True if the packages of the extra `console` are installed."""
    return all(find_spec(name) is not None for name in PACKAGES)


def workers_of(hosts: Sequence[str], settings: Settings) -> Workers:
    """Return the workers to read, with the ports of the settings that workers have, too."""
    from console.workers import Workers
    from worker.telemetry.configuration import METRICS
    from worker.telemetry.configuration import PORT as METRICS_PORT

    exported = os.environ.get(METRICS, "prometheus") == "prometheus"
    port = os.environ.get(METRICS_PORT, "9464")
    if not port.isdecimal() or not 0 < int(port) < 65_536:  # noqa: PLR2004 - TCP has no others
        raise UsageError(f"{METRICS_PORT} is not a port", "use a number from 1 to 65535")
    return Workers(hosts, settings.health_port, int(port) if exported else None)


def person() -> str:
    """Return the name of the account that runs this process; its number if it has none.

    A name with an @, as a directory service may use, is no valid actor of a command.
    """
    from application.messages.attributes import check_actor
    from domain.errors import InvalidValueError

    try:
        return check_actor(getpass.getuser())
    except (OSError, KeyError, InvalidValueError):
        return f"uid {os.getuid()}"
