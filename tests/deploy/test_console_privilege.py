"""The console works under its policies: they allow what its pages and actions need, and no more.

Each console runs as in production, behind a proxy that names the person. Its calls to AWS are
recorded, and denied as by IAM if its policies do not allow them.
"""

from __future__ import annotations

import http.client
import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import pytest

from biome_users import UserCommands
from console.app import ROUTES
from console.web import HEALTH, Mode
from domain.commands import CreateUser
from tests.builders import email
from tests.client_commands import of_client
from tests.deploy.roles import (
    BACK_OFFICE,
    DEAD,
    PRIORITY,
    QUEUE,
    Role,
    World,
    a_user_to_scrub,
    as_role,
    but_quarantine,
    check,
    park,
    with_arn,
    world_of,
    write_letters,
)
from tests.deploy.uses import Policy
from tests.e2e.account import BIN, running, talk_of
from tests.e2e.worker_process import eventually

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("privilege"),
]

PUBLIC = "console.example.com"
PAGES = Policy.of("console") | Policy.of_queues("ConsolePolicy")
ACTIONS = Policy.of("console-write") | Policy.of_queues("ConsoleWritePolicy")
TAIL = "arn:aws:sqs:REGION:ACCOUNT:user-worker-tail-"
NOT_JSON = re.compile(r"\?(group=\w+)\">NotJson</a>")
ALL_ATTRIBUTES = ("dynamodb:Select", ("ALL_ATTRIBUTES",))


@pytest.fixture(scope="module")
def world(aws_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The account, with a worker."""
    with world_of(aws_endpoint, tmp_path_factory.mktemp("console")) as world:
        yield world


class Page(NamedTuple):
    """An answer of the console."""

    status: int
    location: str
    text: str


@dataclass(slots=True)
class Served:
    """A console and the person who uses it."""

    port: int
    role: Role
    asked: set[tuple[str, str]] = field(default_factory=set)
    """Routes that were used, by method and path."""

    def get(self, route: str, query: str = "", **parts: str) -> Page:
        """Request a page."""
        return self._ask("GET", route, query, None, parts)

    def post(self, route: str, fields: dict[str, str] | None = None, **parts: str) -> Page:
        """Send a form, with the value that the console's pages contain."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.get("/users").text)
        assert found
        return self._ask("POST", route, "", {"csrf": found[1], **(fields or {})}, parts)

    def run(self, route: str, fields: dict[str, str] | None = None, **parts: str) -> str:
        """Start an action, and return its page when it has ended."""
        started = self.post(route, fields, **parts)
        assert started.status == 303, started.text
        job = started.location.rpartition("/")[2]
        assert self.get("/jobs/{job_id:uuid}", job_id=job).status == 200
        route = "/jobs/{job_id:uuid}/part"

        def ended() -> str:
            text = self.get(route, job_id=job).text
            return text if "data-done" in text else ""

        return eventually(ended, 60)

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    @property
    def headers(self) -> dict[str, str]:
        """Headers that the load balancer passes on, and those of a browser."""
        return {
            "Host": PUBLIC,
            "Origin": f"https://{PUBLIC}",
            "Sec-Fetch-Site": "same-origin",
            "X-Amzn-Oidc-Identity": "ada",
        }

    def _ask(
        self, method: str, route: str, query: str, fields: dict[str, str] | None, parts: object
    ) -> Page:
        self.asked.add((method, route))
        path = re.sub(r"\{(\w+)(:uuid)?\}", lambda match: parts[match[1]], route)  # type: ignore[index]
        connection = self.connect()
        try:
            form = {"Content-Type": "application/x-www-form-urlencoded"} if fields else {}
            body = urlencode(fields) if fields else None
            target = f"{path}?{query}" if query else path
            connection.request(method, target, body, self.headers | form)
            answer = connection.getresponse()
            return Page(answer.status, answer.getheader("location", ""), answer.read().decode())
        finally:
            connection.close()


@contextmanager
def console(world: World, policy: Policy, folder: Path, *options: str) -> Iterator[Served]:
    """Run a console of production, whose role has this policy."""
    role = world.role(policy)
    environment = with_arn(role.environment, world.account) | {"USER_WORKER_ENV": "prod"}
    command = [f"{BIN}/user-worker", "console", "--port", "0", "--public-host", PUBLIC]
    command += ["--proxy-header", "x-amzn-oidc-identity", *options]
    output = folder / "console"
    with running(command, environment, output, "console: "):
        port = re.search(r"console: http://127\.0\.0\.1:(\d+)/", talk_of(output).read_text())
        assert port
        yield Served(int(port[1]), role)


def write_dead_letters(world: World, user: str) -> list[str]:
    """Dead-letter a command of each queue with an unknown field; return the ids."""
    sqs = world.account.client("sqs")
    url = sqs.get_queue_url(QueueName=DEAD)["QueueUrl"]
    ids = []
    for queue in (QUEUE, PRIORITY, BACK_OFFICE):
        told = {"error_code": "InvalidField", "original_queue": queue}
        attributes = {n: {"DataType": "String", "StringValue": v} for n, v in told.items()}
        body = json.dumps(unlock(user, unknown=True))
        sent = sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attributes)
        ids.append(sent["MessageId"])
    return ids


def unlock(user: str, **data: object) -> dict[str, object]:
    """Return a command."""
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "/test",
        "type": "biome.user.UnlockUser.v1",
        "subject": user,
        "data": data,
    }


def watch_events(served: Served, world: World) -> None:
    """Keep a page with events open, until one arrives; the console receives and deletes it."""
    connection = served.connect()
    try:
        connection.request("GET", "/live/stream", headers=served.headers)
        stream = connection.getresponse()
        assert stream.status == 200
        with as_role(world.role()):
            users = UserCommands(QUEUE, source="/test")
            line = b""
            while not line.startswith(b"data: <"):
                person = CreateUser(email(uuid.uuid4().hex), "Ada", ("customer",), last_name="L")
                users.send(of_client(person), user_id=uuid.uuid4())
                line = stream.readline()
                assert line, "the stream has ended"
                assert not line.startswith(b"event: problem"), stream.readline()
    finally:
        connection.close()
    eventually(lambda: any(use.action == "sqs:DeleteMessage" for use in served.role.uses))


def see_all_pages(served: Served, world: World, user: str, command: str) -> None:
    """Open every page that needs no `--write`, with what it can show."""
    letter = write_dead_letters(world, user)[0]
    watch_events(served, world)
    for route, mode in {(each.path, each.mode) for each in ROUTES if each.method == "GET"}:
        if mode is Mode.READ and "{" not in route and route != "/dead-letters/group":
            page = served.get(route)
            assert page.status == 200, (route, page.text)
    page = served.get("/")
    assert "access denied" in page.text  # the quarantine queue, which no operator may read
    known = f"user={user}"
    for route in ("/commands/{command_id:uuid}", "/commands/{command_id:uuid}/part"):
        page = served.get(route, known, command_id=command)
        assert "accepted" in page.text
    named = re.search(r"\?(group=\w+)\">InvalidField</a>", served.get("/dead-letters").text)
    assert named
    group = served.get("/dead-letters/group", named[1])
    assert letter[:8] in group.text
    assert "InvalidField" in served.get("/dead-letters/{message_id:uuid}", message_id=letter).text
    assert "dead letter" in served.run("/dead-letters/count")
    for who in (user, email(user).value):
        found = served.post("/users", {"user": who})
        assert found.location == f"/users/{user}", found.text
    page = served.get("/users/{user_id:uuid}", user_id=user)
    assert "Edith" in page.text
    assert served.get("/users/{user_id:uuid}", f"after={command}", user_id=user).status == 200
    assert "rejects an event" in served.get("/outbox", "parked=1").text
    assert served.post("/logout", {}).location == "/"  # a proxy names the person, so pages go on


@pytest.mark.policies("console", "queues/ConsolePolicy")
def test_a_console_without_write_reads_with_its_policy_alone(world: World, tmp_path: Path) -> None:
    """Every page is complete, and no permission of the policy is superfluous."""
    user, command = a_user_to_scrub(world)
    park(world, user, command)
    with console(world, PAGES, tmp_path) as served:
        see_all_pages(served, world, user, command)
        read = {(each.method, each.path) for each in ROUTES if each.mode is Mode.READ}
        assert read <= served.asked
        refused = served.post("/outbox/publish", {"parked": "1"})
        assert refused.status == 403
        assert "read-only" in refused.text
    check(PAGES, lambda: but_quarantine(served.role.uses))


@pytest.mark.policies(
    "console", "queues/ConsolePolicy", "console-write", "queues/ConsoleWritePolicy"
)
def test_a_console_that_may_act_needs_both_policies(world: World, tmp_path: Path) -> None:
    """Every page and action is tried. An export is refused, since it reads credentials."""
    user, command = a_user_to_scrub(world)
    park(world, user, command)
    with console(world, PAGES | ACTIONS, tmp_path, "--write") as served:
        see_all_pages(served, world, user, command)
        assert served.run("/outbox/publish", {"parked": "1"})
        act_on_dead_letters(served, world, user)
        for action in ("erase", "export"):
            asks = served.get("/users/{user_id:uuid}/confirm", f"action={action}", user_id=user)
            assert asks.status == 200
        but_the_export = served.role.uses
        refused = served.post(
            "/users/{user_id:uuid}/export", {"confirmed_id": user[:8]}, user_id=user
        )
        assert refused.status == 403
        assert "AWS refuses this console" in refused.text
        of_the_export = (PAGES | ACTIONS).lacks(but_quarantine(served.role.uses - but_the_export))
        assert of_the_export
        assert all(ALL_ATTRIBUTES in use.context for use in of_the_export)
        erased = served.post(
            "/users/{user_id:uuid}/erase", {"confirmed_id": user[:8]}, user_id=user
        )
        assert erased.status == 303, erased.text
        sent = erased.location.partition("?")[0].rpartition("/")[2]
        route = "/commands/{command_id:uuid}/part"
        eventually(
            lambda: "accepted" in served.get(route, f"user={user}", command_id=sent).text, 30
        )
        for route, parts in (("/send", {}), ("/send/{name}", {"name": "UnlockUser"})):
            assert served.get(route, **parts).status == 400  # the form is refused in production
        assert served.post("/send/{name}", {"x": "y"}, name="UnlockUser").status == 400
        assert served.asked >= {(each.method, each.path) for each in ROUTES}
    check(PAGES | ACTIONS, lambda: but_quarantine(served.role.uses), but_for=of_the_export)


def act_on_dead_letters(served: Served, world: World, user: str) -> None:
    """Correct a letter of each queue, retry and delete others."""
    for letter in write_dead_letters(world, user):
        parts = {"message_id": letter}
        route = "/dead-letters/{message_id:uuid}/edit"
        # a listing is shown for some seconds before the console reads again
        eventually(lambda: "UnlockUser" in served.get(route, **parts).text)  # noqa: B023 - at once
        corrected = {"command": json.dumps(unlock(user))}
        done = served.run(route, corrected, **parts)
        assert "corrected command was sent" in done, done
    write_letters(world)
    for action, done in (("retry", "sent back"), ("delete", "deleted")):
        found = eventually(lambda: NOT_JSON.search(served.get("/dead-letters").text))
        assert found
        asks = served.get("/dead-letters/confirm", f"action={action}&{found[1]}")
        assert asks.status == 200
        selection = {"group": found[1].removeprefix("group=")}
        assert done in served.run(f"/dead-letters/{action}", selection)
        if action == "retry":
            write_letters(world)


def test_an_export_needs_the_exporters_policy_too(world: World, tmp_path: Path) -> None:
    """With it, the file has everything that is stored, without secrets."""
    user, _ = a_user_to_scrub(world)
    policy = PAGES | ACTIONS | Policy.of("exporter")
    with console(world, policy, tmp_path, "--write") as served:
        fields = {"confirmed_id": user[:8]}
        done = served.post("/users/{user_id:uuid}/export", fields, user_id=user)
        assert done.status == 200, done.text
        assert "Edith" in done.text


def test_a_console_that_is_stopped_leaves_no_queue_and_no_subscription(
    world: World, tmp_path: Path
) -> None:
    """It may be stopped while a page is open, for example by a deployment."""
    with console(world, PAGES, tmp_path) as served:
        watch_events(served, world)
    used = {(use.action, use.resource.startswith(TAIL)) for use in served.role.uses}
    assert {("sqs:DeleteQueue", True), ("sns:Unsubscribe", False)} <= used
    queues = world.account.client("sqs").list_queues(QueueNamePrefix="user-worker-tail-")
    assert queues.get("QueueUrls", []) == []


def test_a_probe_needs_no_permission(world: World, tmp_path: Path) -> None:
    """The load balancer asks by the address of the task, and learns nothing."""
    with console(world, Policy(frozenset()), tmp_path) as served:
        connection = served.connect()
        connection.request("GET", HEALTH, headers={"Host": "10.0.3.7:8600"})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"ok\n")
        connection.close()
        refused = served.get("/dead-letters")
        assert refused.status == 403
        assert "AWS refuses this console" in refused.text
