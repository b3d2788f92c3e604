"""The README's examples, run unchanged against a worker that the command line started.

They name the default queue, table and topic, so they run in their own account.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from tests.e2e.account import BIN, ROOT, World, client, command_lines, running
from tests.e2e.worker_process import eventually

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TOKEN_KEY = "the key of the mailer; it is long enough"
DATA = {
    "email": "Mary@Example.com",
    "first_name": "Mary",
    "last_name": "Somerville",
    "password_hash": "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43,
}

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.slow,
    pytest.mark.timeout(150),  # the first test with Node waits for a registry
    pytest.mark.xdist_group("readme"),
]


# --- the examples and the page -------------------------------------------------------------


def blocks() -> list[tuple[str, str]]:
    """Return the pages' code blocks that are a file of examples/, each with its path."""
    block = re.compile(r"^<!-- (examples/\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [found for page in PAGES for found in block.findall(page.read_text())]


def test_the_pages_show_each_example_unchanged() -> None:
    """The files run here are those that the README or a page of docs shows or links."""
    shown = blocks()
    part = re.compile(r"\]\((?:\.\./)+(examples/[^)\s]+\.(?:go|java|mjs|py|sh))\)")
    linked = {path for page in PAGES for path in part.findall(page.read_text())}
    programs = {
        p
        for p in (ROOT / "examples").rglob("*.*")
        if p.suffix in {".go", ".java", ".mjs", ".py", ".sh"}
    }
    ours = {str(p.relative_to(ROOT)) for p in programs if "node_modules" not in p.parts}
    assert {path for path, _ in shown} <= ours
    assert {path for path, _ in shown} | linked == ours
    for path, text in shown:
        assert text == (ROOT / path).read_text(), path


# --- sending -------------------------------------------------------------------------------


def program(request: pytest.FixtureRequest, path: str) -> list[str | Path]:
    """Return the command that runs an example."""
    if path.endswith(".mjs"):
        return ["node", request.getfixturevalue("node") / Path(path).name]
    return ["sh" if path.endswith(".sh") else sys.executable, f"examples/{path}"]


PRODUCERS = {
    "send_boto3.py": "Ada@example.com",
    "send_celery.py": "grace@example.com",
    "node/send.mjs": "katherine@example.com",
    "send_aws_cli.sh": "margaret@example.com",
}


@pytest.mark.parametrize("producer", PRODUCERS)
def test_an_example_registers_its_person(
    world: World, request: pytest.FixtureRequest, producer: str
) -> None:
    """It prints the command's id, and its event is published on the topic."""
    command_id = world.run(*program(request, producer)).strip()

    event = world.answer(command_id)
    assert (event["type"], event["data"]) == ("biome.user.UserRegistered.v1", {"email": None})
    stored = world.run(f"{BIN}/user-worker", "user", PRODUCERS[producer], "--json")
    assert event["subject"] in stored
    assert event["sequence"] == f"{1:020d}"


ANSWERS = {
    "send_client.py": ["accepted", "accepted", "no effect", "rejected VersionConflict"],
    "node/outcome.mjs": ["accepted", "rejected EmailTaken"],
}


@pytest.mark.parametrize("path", ANSWERS)
def test_an_example_learns_how_its_commands_ended(
    world: World, request: pytest.FixtureRequest, path: str
) -> None:
    """It prints an answer to each command, and deletes its queue and its subscription."""
    lines = world.run(*program(request, path)).splitlines()

    assert [line.strip() for line in lines] == ANSWERS[path]
    assert "outcomes" not in str(world.sqs.list_queues().get("QueueUrls"))
    subscriptions = client("sns", world.environment).list_subscriptions()["Subscriptions"]
    assert not [each for each in subscriptions if "outcomes" in each["Endpoint"]]


@pytest.mark.parametrize("path", ["password_reset.py", "node/password_reset.mjs"])
def test_an_example_resets_a_password_by_a_token_that_no_queue_sees(
    world: World, request: pytest.FixtureRequest, path: str
) -> None:
    """The new password is set. The token of edge and mailer was in no event."""
    user_id = world.answer(send_json(world, str(uuid.uuid4()), str(uuid.uuid4())))["subject"]

    command = ("env", f"TOKEN_KEY={TOKEN_KEY}", *program(request, path), DATA["email"])
    mail, ending = world.run(*command).splitlines()

    assert mail == "mail to Mary@example.com"
    kind, command_id = ending.split()
    assert kind == "PasswordReset"

    def caused() -> list[dict[str, Any]]:
        found = world.events(causationid=command_id)
        return found if len(found) == 2 else []

    events = eventually(caused, 20, "two events")
    by_type = {each["type"]: each for each in events}
    assert by_type.keys() == {"biome.user.PasswordReset.v1", "biome.user.EmailVerified.v1"}
    event = by_type["biome.user.PasswordReset.v1"]
    assert (event["subject"], event["data"]) == (user_id, {"credential_version": 2})
    (asked,) = world.events(subject=user_id, type="biome.user.PasswordResetRequested.v1")
    derived = f"reset\n{asked['data']['token_id']}".encode()
    token = hmac.new(TOKEN_KEY.encode(), derived, hashlib.sha256).hexdigest()
    assert token not in world.heard.read_text()
    assert hashlib.sha256(token.encode()).hexdigest() not in world.heard.read_text()
    erase(world, user_id)


@pytest.mark.parametrize("path", ["password_reset.py", "node/password_reset.mjs"])
@pytest.mark.parametrize("key", [None, "", "a key for development"])
def test_an_example_has_no_key_of_its_own(
    world: World, request: pytest.FixtureRequest, path: str, key: str | None
) -> None:
    """A reader of the source could derive every token from a default key."""
    environment = {k: v for k, v in world.environment.items() if k != "TOKEN_KEY"}
    environment |= {} if key is None else {"TOKEN_KEY": key}
    done = subprocess.run(
        [*program(request, path), DATA["email"]],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("TOKEN_KEY must contain 32 bytes or more.")


def test_the_command_line_example_creates_a_user_and_shows_them(world: World) -> None:
    """`send --wait` prints the outcome, and `user --history` what is stored."""
    output = world.run("bash", "-euc", command_lines(README, ".venv/bin/user-worker send Create"))

    assert "accepted" in output
    assert "alan@example.com" in output
    assert "CreateUser" in output.split("alan@example.com", 1)[1]


def test_a_command_by_json_and_by_celery_gives_the_same_event(world: World) -> None:
    """A stock Celery application and plain boto3 send the same command."""
    first = world.answer(send_json(world, str(uuid.uuid4()), str(uuid.uuid4())))
    erase(world, first["subject"])
    second = world.answer(send_celery(world, str(uuid.uuid4()), str(uuid.uuid4())))

    assert first["type"] == second["type"] == "biome.user.UserRegistered.v1"
    assert first["data"] == second["data"] == {"email": None}
    assert first.keys() == second.keys()
    erase(world, second["subject"])


def test_a_command_by_json_and_again_by_celery_is_one_command(world: World) -> None:
    """With the same id they are one command, and nothing is published again."""
    command_id, user_id = str(uuid.uuid4()), str(uuid.uuid4())
    letters = world.depths("user-commands-dlq")
    world.answer(send_json(world, command_id, user_id))

    send_celery(world, command_id, user_id)
    eventually(lambda: world.depths("user-commands") == (0, 0), 20, "an empty queue")
    # The event of the erasure comes after any event that the second command would have caused.
    erase(world, user_id)

    assert len(world.events(causationid=command_id)) == 1
    assert world.depths("user-commands-dlq") == letters


def send_json(
    world: World,
    command_id: str,
    user_id: str,
    name: str = "RegisterUser",
    data: dict[str, str] = DATA,
) -> str:
    """Send a command, by default Mary's registration, with boto3 like the example.

    Return its id.
    """
    event = {
        "specversion": "1.0",
        "id": command_id,
        "source": "/signup",
        "type": f"biome.user.{name}.v1",
        "subject": user_id,
        "data": data,
    }
    world.sqs.send_message(QueueUrl=world.queue_url(), MessageBody=json.dumps(event))
    return command_id


def send_celery(world: World, command_id: str, user_id: str) -> str:
    """Send Mary's registration with Celery like the example; return the command's id."""
    app = Celery(broker="sqs://", set_as_current=False)
    app.conf.task_default_queue = "user-commands"
    credentials = {"access_key_id": world.environment["AWS_ACCESS_KEY_ID"]}
    queue = {"url": world.queue_url(), "secret_access_key": "test", **credentials}
    app.conf.broker_transport_options = {"predefined_queues": {"user-commands": queue}}
    app.send_task(
        "biome.user.RegisterUser.v1",
        task_id=command_id,
        kwargs={"user_id": user_id, **DATA},
        headers={"source": "/signup"},
    )
    app.close()
    return command_id


def erase(world: World, user_id: str) -> None:
    """Erase a user, so that the address is free again, and wait for the event."""
    event = world.answer(send_json(world, str(uuid.uuid4()), user_id, "EraseUser", {}))
    assert event["type"] == "biome.user.UserErased.v1"


# --- subscribing ---------------------------------------------------------------------------


def test_the_subscriber_example_keeps_an_address_book(world: World) -> None:
    """It receives a registration and an erasure, and nothing that it did not subscribe to."""
    output, user_id = world.folder / "book", str(uuid.uuid4())
    command = [sys.executable, "examples/subscribe.py"]
    with running(command, world.environment, output, ""):
        eventually(lambda: subscribed(world), 20, "two subscriptions")
        world.answer(send_json(world, str(uuid.uuid4()), user_id))
        eventually(lambda: f"{user_id} Mary@example.com\n" in output.read_text(), 20, "a line")
        erase(world, user_id)
        eventually(lambda: f"{user_id} has gone\n" in output.read_text(), 20, "a line")
        assert len(output.read_text().splitlines()) == 2


def subscribed(world: World) -> bool:
    """Return True if the address book's queue is subscribed to both topics."""
    subscriptions = client("sns", world.environment).list_subscriptions()["Subscriptions"]
    queues = [each["Endpoint"].rpartition(":")[2] for each in subscriptions]
    return queues.count("user-events-to-address-book") == 2
