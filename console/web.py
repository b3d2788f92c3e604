"""The request and the answer of every page, and the checks around both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import structlog
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from adapters.aws.client import error_code
from application.ports import StoreUnavailableError
from console.access import HEADERS, RefusedError
from domain.values import render_time
from operations.presentation import is_id, name_of
from operations.printable import age_text, counted, printable, readable
from worker.cli_errors import explain as explain_for_operators
from worker.cli_errors import is_refusal
from worker.errors import CliError, ExitCode

if TYPE_CHECKING:
    from console.app import Console

logger = structlog.get_logger(__name__)

HEALTH: Final = "/health"
"""Path that a load balancer or an orchestrator probes, under whatever host name."""
MAX_FORM: Final = 900_000
"""Maximum bytes of a form: a command of 256 KiB, in which `%XX` may stand for each byte."""
PAGE_WITHIN: Final = 15.0
"""Maximum seconds for a page; a call to AWS may take 90 s until its last attempt fails."""
FORM_WITHIN: Final = 30.0
"""Maximum seconds for the arrival of a form."""


class Mode(StrEnum):
    """The condition under which a route may be used."""

    READ = "read"
    WRITE = "write"
    """A console that was started with `--write`."""
    DEVELOPMENT = "development"
    """`WRITE`, and a worker that is not in production."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request that has passed the checks."""

    console: Console
    person: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str]

    def page(self, template: str, status: int = 200, /, **values: Any) -> Response:
        """Return a page, rendered."""
        return HTMLResponse(self.console.render(template, person=self.person, **values), status)


Handler = Callable[[Call], Response]


def templates() -> Environment:
    """Return the templates; every value in them is escaped and printable."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,  # it would look at the file for each row
    )
    environment.filters |= {"time": render_time, "clock": _clock, "name": name_of, "bare": _bare}
    environment.filters["age"] = age_text
    environment.globals |= {"lines": _lines, "uuid": is_id, "count": counted}
    return environment


def _shown(value: Any) -> Any:
    """Replace control characters, which could turn the direction of the text around a value."""
    return printable(value) if type(value) is str else value


def _clock(at: datetime) -> Markup:
    """Return the time of day in UTC, with the full time for machines and as a tooltip."""
    full = render_time(at)
    text = f"{at.astimezone(UTC):%H:%M:%S}.{at.microsecond // 1000:03d}"
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(full, text)


def _bare(text: str) -> str:
    """Return the name of a resource without its kind."""
    return text.rpartition(" ")[2]


def _lines(text: str) -> Markup:
    """Return a text with its line breaks, JSON indented, and all other control characters gone."""
    return Markup("\n").join(map(printable, readable(text).split("\n")))


def see_other(path: str) -> Response:
    """Return a redirect after a form; a reload of the next page does not send it again."""
    return RedirectResponse(path, 303)


async def answer(console: Console, request: Request, mode: Mode, handler: Handler) -> Response:
    """Check a request, run its handler in a thread, and return a page for every error."""
    person = ""
    try:
        person = person_of(console, request)
        form: dict[str, str] = {}
        if request.method == "POST":
            console.access.require_same_origin(request.headers)
            form = await read_form(request)
            console.access.require_csrf(form.get("csrf"))
        if mode is not Mode.READ:
            console.access.require_write()
        if mode is Mode.DEVELOPMENT:
            console.require_development()
        call = Call(console, person, request.path_params, dict(request.query_params), form)
        if request.method == "POST":  # an action is never given up half-way
            return await run_in_threadpool(handler, call)
        return await _within(PAGE_WITHIN, handler, call)
    except Exception as error:  # noqa: BLE001 - a page says what happened
        status, problem = explain(error, request)
        return error_page(console, person, status, problem)


async def _within(seconds: float, handler: Handler, call: Call) -> Response:
    """Return a handler's answer; its thread may outlive the request.

    Raises:
        RefusedError: it did not answer in time.
    """
    task = asyncio.ensure_future(run_in_threadpool(handler, call))
    done, _ = await asyncio.wait([task], timeout=seconds)
    if done:
        return task.result()
    task.add_done_callback(lambda late: late.cancelled() or late.exception())
    raise RefusedError(504, f"AWS did not answer within {seconds:.0f} s: try again later")


def person_of(console: Console, request: Request) -> str:
    """Return who sends a request; raises `RefusedError` if it has no session."""
    access = console.access
    return access.person_of(request.headers, request.cookies.get(access.cookie))


def error_page(console: Console, person: str, status: int, problem: str) -> Response:
    """Return a page that states a problem."""
    text = console.render("error.html", person=person, status=status, problem=problem)
    return HTMLResponse(text, status)


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form.

    Raises:
        RefusedError: it is too large or too slow, or not a form.
    """
    body = b""
    try:
        async with asyncio.timeout(FORM_WITHIN):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_FORM:
                    raise RefusedError(413, f"the form has more than {MAX_FORM} bytes")
    except TimeoutError:
        raise RefusedError(408, "the form did not arrive in time: send it again") from None
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise RefusedError(415, "not a form")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
    except (UnicodeDecodeError, ValueError) as error:
        raise RefusedError(400, "the form is not valid UTF-8") from error
    return dict(pairs)


def explain(error: Exception, request: Request) -> tuple[int, str]:
    """Return the status and the text of a page for an error; log an unexpected one."""
    if isinstance(error, RefusedError):
        return error.status, str(error)
    if isinstance(error, CliError):
        status = {ExitCode.NEGATIVE: 404, ExitCode.USAGE: 400}.get(error.code, 503)
        return status, str(error)
    if is_refusal(error):
        return 403, f"AWS refuses this console: {error_code(error)}; check its role"
    if isinstance(error, StoreUnavailableError):
        return 503, str(error)
    if known := explain_for_operators(error):
        return 503, str(known)
    route = request.scope.get("route")
    logger.error("console_failed", path=getattr(route, "path", None), exc_info=error)
    return 502, f"{error_code(error)}: see the console's log"


class SecureHeaders:
    """ASGI middleware: refuse unknown hosts, and set the headers of every answer."""

    def __init__(self, app: Any, console: Console) -> None:
        self._app = app
        self._console = console

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if scope["path"] == HEALTH:  # says nothing about the system
            await Response("ok\n", media_type="text/plain")(scope, receive, send_with_headers)
            return
        try:
            self._console.access.require_host(Request(scope).headers)
        except RefusedError as error:
            refusal = Response(f"{error}\n", error.status, media_type="text/plain")
            await refusal(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)
