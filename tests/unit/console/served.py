"""A console on an AWS in this process, and a client that sends it any request."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from adapters.clock import SystemClock
from adapters.dynamodb import DynamoDBUserRepository
from adapters.memory import MemoryEventPublisher
from adapters.provision import provision
from application.batch import BatchHandler, Ports
from application.batch_policy import BatchPolicy
from application.disposition import Ack, ReceivedMessage
from application.messages import MessageParser, render_command
from application.messages.commands import command_data
from console.access import Access, accepted_hosts
from console.app import Console, build
from domain.commands import Command
from tests.unit.cli.dlq_world import mocked
from worker.bootstrap import resources
from worker.connections import Aws
from worker.settings import load_settings

HOST: Final = "127.0.0.1:8600"


class Answer(NamedTuple):
    """An answer, with its text."""

    status: int
    headers: Mapping[str, str]
    text: str


class Browser:
    """A client that can leave out or forge what a browser sends."""

    def __init__(self, console: Console) -> None:
        """Send requests to a console, with a session."""
        self.console = console
        self.host = HOST
        self.cookie: str | None = f"{console.access.cookie}={console.access.session}"
        self._app = build(console)

    def get(self, path: str, **headers: str) -> Answer:
        """Request a page; a header is given as `host` or `sec_fetch_site`."""
        return self.send("GET", path, None, headers)

    def post(self, path: str, fields: Mapping[str, str] | None = None, **headers: str) -> Answer:
        """Send a form as a page of the console does."""
        form = {"csrf": self.console.access.csrf, **(fields or {})}
        own = {"origin": f"http://{self.host}", "sec_fetch_site": "same-origin"}
        kind = {"content_type": "application/x-www-form-urlencoded"}
        return self.send("POST", path, urlencode(form), own | kind | headers)

    def send(
        self,
        method: str,
        path: str,
        body: str | bytes | None,
        headers: dict[str, str],
        *,
        ends: bool = True,
    ) -> Answer:
        """Send a request; without `ends`, more of its body is announced and never sent."""
        named = {"host": self.host} | ({"cookie": self.cookie} if self.cookie else {}) | headers
        data = b"" if body is None else body.encode() if isinstance(body, str) else body
        target, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": target,
            "raw_path": target.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "scheme": "http",
            "server": ("127.0.0.1", 8600),
            "client": ("127.0.0.1", 50_000),
            "headers": [
                (name.replace("_", "-").lower().encode(), value.encode("latin-1"))
                for name, value in named.items()
            ],
        }
        return asyncio.run(self._answer(scope, data, ends=ends))

    async def _answer(self, scope: Any, data: bytes, *, ends: bool) -> Answer:
        received: list[Any] = []
        requests = [{"type": "http.request", "body": data, "more_body": not ends}]

        async def receive() -> Any:
            if not requests:
                await asyncio.Event().wait()  # the client stays connected
            return requests.pop()

        async def send(message: Any) -> None:
            received.append(message)

        await self._app(scope, receive, send)
        start, *parts = received
        headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], headers, b"".join(each["body"] for each in parts).decode())


def console(**access: Any) -> Browser:
    """Return a client of a console with these rules of access."""
    hosts = accepted_hosts("127.0.0.1", 8600)
    return Browser(Console(Aws(load_settings()), Access(hosts=hosts, person="ada", **access)))


@contextmanager
def provisioned() -> Iterator[None]:
    """Run an AWS with the worker's resources."""
    with mocked(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("USER_WORKER_ENV", "dev")
        aws = Aws(load_settings())
        provision(resources(aws.settings), aws.dynamodb, aws.sqs, aws.sns)
        yield


def handle(browser: Browser, command: Command, user_id: str | None = None) -> str:
    """Process a command as a worker does; return its id."""
    aws = browser.console.aws
    settings = aws.settings
    repository = DynamoDBUserRepository(aws.dynamodb, settings.table)
    ports = Ports(repository, aws.outbox, MemoryEventPublisher(), SystemClock())
    policy = BatchPolicy(
        settings.max_receives,
        timedelta(days=90),
        timedelta(days=60),
        timedelta(seconds=60),
        hash_keys=settings.hash_key_ring,
    )
    command_id = str(uuid4())
    body = render_command(
        command.type,
        command_data(command),
        command_id=command_id,
        source="/test",
        user_id=user_id,
    )
    received = ReceivedMessage(
        message_id=command_id,
        body=body,
        receives=1,
        sent_at=time.time(),
        group_id=None,
        fifo=False,
    )
    handler = BatchHandler(ports, MessageParser(settings.roles), policy)
    assert handler.handle([received]).items == (Ack(),)
    return command_id


def headings(page: str) -> list[str]:
    """Return the text of a page's first-level headings."""
    return re.findall(r"<h1>(.*?)</h1>", page)
