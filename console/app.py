"""The console's routes, and what its pages share."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from console import dead_letters, live_page, outbox_page, overview, sending, user_page
from console.access import Access, RefusedError
from console.commands import Commands
from console.jobs import Jobs
from console.letters import LetterShelf
from console.live import LiveEvents
from console.web import (
    Call,
    Handler,
    Mode,
    SecureHeaders,
    answer,
    error_page,
    explain,
    person_of,
    read_form,
    see_other,
    templates,
)
from operations.event_tail import EventTail
from operations.printable import printable
from operations.received_event import ReceivedEvent
from worker.connections import Aws
from worker.errors import UsageError

STATIC: Final = Path(__file__).parent / "static"
TOGETHER: Final = 0.2
"""Seconds in which events are collected before they are sent to a page together."""
SILENCE: Final = 5.0
"""Seconds without an event after which a comment is sent, so that proxies keep a stream open."""


@dataclass(slots=True)
class Console:
    """A running console."""

    aws: Aws
    access: Access
    history: overview.History = field(default_factory=overview.History)
    jobs: Jobs = field(default_factory=Jobs)
    letters: LetterShelf = field(default_factory=LetterShelf)
    live: LiveEvents = field(init=False)
    ending: threading.Event = field(default_factory=threading.Event)
    """Set when the server stops, so that open streams end."""
    commands: Commands = field(init=False)
    watches: bool = False
    """Whether events are received from the start, and not only while a page is open."""
    _templates: Any = field(default_factory=templates)

    def __post_init__(self) -> None:
        """Subscribe to the topic without personal data only."""
        self.live = LiveEvents(lambda: EventTail(self.aws.sqs, self.aws.sns, self.aws.topic_arn))
        self.commands = Commands(self.live)

    @property
    def develops(self) -> bool:
        """Whether commands may be sent from a page."""
        return self.access.write and self.aws.settings.env != "prod"

    def require_development(self) -> None:
        """Refuse in production; raises UsageError."""
        if self.aws.settings.env == "prod":
            raise UsageError(
                "commands cannot be sent from this console: USER_WORKER_ENV is prod",
                "send them from the service that may",
            )

    def render(self, template: str, **values: Any) -> str:
        """Return a rendered template; it knows the console and the settings."""
        return str(
            self._templates.get_template(template).render(
                console=self, settings=self.aws.settings, csrf=self.access.csrf, **values
            )
        )


def log_out(call: Call) -> Response:
    """Delete the cookie of this browser; its value stays valid until the console restarts."""
    access, done = call.console.access, see_other("/")
    done.delete_cookie(access.cookie, path="/", httponly=True, samesite="strict")
    return done


class PageRoute(NamedTuple):
    """One route of the console; the table of all routes is `ROUTES`."""

    method: str
    path: str
    mode: Mode
    handler: Handler


COMMAND_PART: Final = partial(live_page.command, template="command_part.html")
JOB_PART: Final = partial(dead_letters.job, template="job_part.html")
ROUTES: Final = (
    PageRoute("GET", "/", Mode.READ, overview.page),
    PageRoute("GET", "/overview/part", Mode.READ, overview.part),
    PageRoute("GET", "/live", Mode.READ, live_page.page),
    PageRoute("GET", "/live/newest", Mode.READ, live_page.newest),
    PageRoute("GET", "/commands/{command_id:uuid}", Mode.READ, live_page.command),
    PageRoute("GET", "/commands/{command_id:uuid}/part", Mode.READ, COMMAND_PART),
    PageRoute("GET", "/dead-letters", Mode.READ, dead_letters.page),
    PageRoute("GET", "/dead-letters/group", Mode.READ, dead_letters.group),
    PageRoute("GET", "/dead-letters/{message_id:uuid}", Mode.READ, dead_letters.letter),
    PageRoute("GET", "/dead-letters/confirm", Mode.WRITE, dead_letters.confirm),
    PageRoute("POST", "/dead-letters/count", Mode.READ, dead_letters.count),
    PageRoute("GET", "/dead-letters/{message_id:uuid}/edit", Mode.WRITE, dead_letters.edit),
    PageRoute("POST", "/dead-letters/{message_id:uuid}/edit", Mode.WRITE, dead_letters.send_edited),
    PageRoute("POST", "/dead-letters/retry", Mode.WRITE, dead_letters.retry),
    PageRoute("POST", "/dead-letters/delete", Mode.WRITE, dead_letters.delete),
    PageRoute("GET", "/jobs", Mode.READ, dead_letters.jobs),
    PageRoute("GET", "/jobs/{job_id:uuid}", Mode.READ, dead_letters.job),
    PageRoute("GET", "/jobs/{job_id:uuid}/part", Mode.READ, JOB_PART),
    PageRoute("GET", "/users", Mode.READ, user_page.search),
    PageRoute("POST", "/users", Mode.READ, user_page.find),
    PageRoute("GET", "/users/{user_id:uuid}", Mode.READ, user_page.page),
    PageRoute("GET", "/users/{user_id:uuid}/confirm", Mode.WRITE, user_page.confirm),
    PageRoute("POST", "/users/{user_id:uuid}/erase", Mode.WRITE, user_page.erase),
    PageRoute("POST", "/users/{user_id:uuid}/export", Mode.WRITE, user_page.export),
    PageRoute("GET", "/outbox", Mode.READ, outbox_page.page),
    PageRoute("POST", "/outbox/publish", Mode.WRITE, outbox_page.publish),
    PageRoute("POST", "/logout", Mode.READ, log_out),
    PageRoute("GET", "/send", Mode.DEVELOPMENT, sending.choose),
    PageRoute("GET", "/send/{name}", Mode.DEVELOPMENT, sending.form),
    PageRoute("POST", "/send/{name}", Mode.DEVELOPMENT, sending.send),
)
"""Every page and action, and what it needs."""


def build(console: Console) -> Starlette:
    """Return the ASGI application."""
    routes = [
        Route(each.path, partial(_serve, console, each), methods=[each.method]) for each in ROUTES
    ]
    return Starlette(
        routes=[
            *routes,
            Route("/login", partial(_login, console), methods=["POST"]),
            Route("/live/stream", partial(_stream, console)),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        exception_handlers={HTTPException: partial(_not_found, console)},
        middleware=[Middleware(SecureHeaders, console=console)],
    )


async def _serve(console: Console, route: PageRoute, request: Request) -> Response:
    token = request.query_params.get("token")
    if route.path == "/" and token is not None and console.access.is_token(token):
        return _opened(console, request)
    return await answer(console, request, route.mode, route.handler)


async def _not_found(console: Console, request: Request, error: Exception) -> Response:
    """Return a page for an address without a route."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    try:
        person = person_of(console, request)
    except RefusedError as refused:
        return error_page(console, "", refused.status, str(refused))
    return error_page(console, person, status, "no page has this address; see the pages above")


def _opened(console: Console, request: Request) -> Response:
    """Return the session's cookie, and an address without the token."""
    access, done = console.access, see_other("/")
    by_tls = request.headers.get("origin", "").lower().startswith("https://")
    done.set_cookie(
        access.cookie, access.session, path="/", httponly=True, samesite="strict", secure=by_tls
    )
    return done


async def _login(console: Console, request: Request) -> Response:
    """Open a session for the password."""
    try:
        console.access.require_same_origin(request.headers)
        form = await read_form(request)
        await console.access.require_password(form.get("password"))
        return _opened(console, request)
    except Exception as error:  # noqa: BLE001 - a page says what happened
        status, problem = explain(error, request)
        return error_page(console, "", status, problem)


async def _stream(console: Console, request: Request) -> Response:
    """Send events as they arrive (server-sent events), each as a rendered row."""
    try:
        person_of(console, request)
    except RefusedError as error:
        return Response(f"{error}\n", error.status, media_type="text/plain")
    try:
        number = max(0, int(request.headers.get("last-event-id", "0")[:20]))
    except ValueError:
        number = 0
    return StreamingResponse(_rows(console, request, number), media_type="text/event-stream")


async def _rows(console: Console, request: Request, number: int) -> AsyncIterator[str]:
    """Yield new events; look for them without a thread, since many pages may be open."""
    yield "retry: 2000\n\n"
    problem, written = None, time.monotonic()
    with console.live.watching():
        while not console.ending.is_set() and not await request.is_disconnected():
            events = console.live.after(number)
            number = events[-1][0] if events else number
            lines = [_message(console, each, event) for each, event in events]
            if console.live.problem != problem:
                problem = console.live.problem
                lines.append(_state(problem))
            if not lines and time.monotonic() - written >= SILENCE:
                lines.append(": still here\n\n")
            if lines:
                yield "".join(lines)
                written = time.monotonic()
            await asyncio.sleep(TOGETHER)


def _state(problem: str | None) -> str:
    """Return the message that shows a problem, or removes it from the page."""
    if problem is None:
        return "event: received\ndata: again\n\n"
    return f"event: problem\ndata: {printable(problem)}\n\n"


def _message(console: Console, number: int, event: ReceivedEvent) -> str:
    row = console.render("event_row.html", event=event)
    lines = "".join(f"data: {line}\n" for line in row.splitlines())
    return f"id: {number}\n{lines}\n"
