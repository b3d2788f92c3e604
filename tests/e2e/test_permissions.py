"""A worker with a file of permissions: two queues, and two producers with other rights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import boto3
import pytest

from adapters.sqs.dead_letters import PRINCIPAL
from application.permissions import NOT_PERMITTED
from domain import commands as c
from tests.builders import register
from tests.conftest import ResourceNames
from tests.e2e.command_line import CommandLine
from tests.e2e.system import System, log_lines, message
from tests.e2e.worker_process import Queues, WorkerProcess, eventually

FILE = """
[[producer]]
name = "signup"
queues = ["{commands}"]
principals = ["*"]
sources = ["*"]
commands = ["RegisterUser"]

[[producer]]
name = "back-office"
queues = ["{back_office}"]
principals = ["*"]
sources = ["*"]
commands = ["*"]
roles = ["admin"]
"""
"""The emulators report one principal for all senders, so the queue tells the producers apart."""


@pytest.fixture
def back_office(system: System) -> Iterator[Queues]:
    """The queue of the back office; its failed messages go to the same dead-letter queue."""
    sqs, names = system.queues.sqs, ResourceNames.unique()
    attributes = sqs.get_queue_attributes(
        QueueUrl=system.queues.url, AttributeNames=["RedrivePolicy"]
    )["Attributes"]
    made = sqs.create_queue(QueueName=names.command_queue, Attributes=attributes)
    yield Queues(names, sqs, made["QueueUrl"])
    sqs.delete_queue(QueueUrl=made["QueueUrl"])


@pytest.fixture
def worker(system: System, back_office: Queues, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker on both queues."""
    names = system.names.command_queue, back_office.names.command_queue
    file = tmp_path / "permissions.toml"
    file.write_text(FILE.format(commands=names[0], back_office=names[1]))
    settings = {"PERMISSIONS": str(file), "PRIORITY_QUEUE": names[1]}
    with system.worker(**settings) as running:
        running.ready()
        yield running


def test_a_command_is_accepted_only_on_the_queue_of_its_producer(
    system: System, back_office: Queues, worker: WorkerProcess
) -> None:
    """A forbidden one is dead-lettered, without outcome and event."""
    user = str(uuid4())
    ban = message(c.BanUser("spam"), user)
    role = message(c.AssignRole("lab_assistant"), user)
    system.do(message(register(uuid4().hex), user))

    system.send(ban)
    back_office.send(role.body)
    lines = eventually(lambda: log_lines(worker, "message_not_permitted")[1:], what="two refusals")
    assert lines
    letters = {
        letter["MessageAttributes"]["error_detail"]["StringValue"]: letter
        for letter in system.queues.dead_letters(2)
    }
    assert letters.keys() == {
        "signup may not send BanUser",
        "back-office may not grant one of the roles",
    }
    for letter in letters.values():
        assert letter["MessageAttributes"]["error_code"]["StringValue"] == NOT_PERMITTED
    assert system.load(outcomes={ban.key, role.key}).outcomes == {}
    assert system.caused_by(ban) == set()

    back_office.send(ban.body)
    (outcome,) = system.outcomes([ban])
    assert outcome.code is None
    assert system.user(user).ban is not None


def test_a_redrive_of_a_forbidden_command_is_refused_again(
    system: System, worker: WorkerProcess
) -> None:
    """The original comes back to its queue, so the permissions of its first sender apply."""
    user = str(uuid4())
    ban = message(c.BanUser("spam"), user)
    system.do(message(register(uuid4().hex), user))
    system.send(ban)
    eventually(lambda: log_lines(worker, "message_not_permitted"), what="a refusal")

    cli = CommandLine.on(system.names, system.endpoint)
    eventually(lambda: cli.run("dlq", "list", "--each", "--json").out, what="a letter")
    done = cli.run("dlq", "redrive", "--yes")

    assert "1 NotPermitted" in done.err
    eventually(lambda: log_lines(worker, "message_not_permitted")[1:], what="another refusal")
    (letter,) = system.queues.dead_letters(1)
    attributes = {name: each["StringValue"] for name, each in letter["MessageAttributes"].items()}
    assert (attributes["error_code"], attributes["redrive_count"]) == (NOT_PERMITTED, "1")
    assert system.load(outcomes={ban.key}).outcomes == {}
    assert system.caused_by(ban) == set()
    assert system.user(user).ban is None


SIGNUP, BACK_OFFICE, OPERATOR, STRANGER = (str(n) * 12 for n in range(1, 5))
"""Principals: LocalStack reports the caller's account, which is a twelve-digit access key."""
BY_PRINCIPAL = f"""
operators = ["{OPERATOR}"]

[[producer]]
name = "signup"
queues = ["*"]
principals = ["{SIGNUP}"]
sources = ["/test"]
commands = ["RegisterUser"]

[[producer]]
name = "back-office"
queues = ["*"]
principals = ["{BACK_OFFICE}"]
sources = ["/test"]
commands = ["BanUser", "UnbanUser"]
"""


def send_as(
    system: System, principal: str, body: str, stated: str | None = None, **attributes: str
) -> None:
    """Send a message to the command queue as a principal, who may state another one."""
    if stated is not None:
        attributes[PRINCIPAL] = stated
    boto3.client(
        "sqs",
        endpoint_url=system.endpoint,
        aws_access_key_id=principal,
        aws_secret_access_key="test",
    ).send_message(
        QueueUrl=system.queues.url,
        MessageBody=body,
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        },
    )


@pytest.mark.localstack
def test_producers_of_one_queue_are_recognised_by_their_principals(
    system: System, tmp_path: Path
) -> None:
    """The worker ignores a stated principal, unless an operator redrives the message."""
    file, user = tmp_path / "permissions.toml", str(uuid4())
    file.write_text(BY_PRINCIPAL)
    registration = message(register(uuid4().hex), user)
    refused = {
        "signup may not send BanUser": (SIGNUP, c.BanUser("spam"), None),
        "signup may not send UnbanUser": (SIGNUP, c.UnbanUser(), BACK_OFFICE),
        "back-office may not send RegisterUser": (BACK_OFFICE, register(uuid4().hex), SIGNUP),
        "back-office may not send EraseUser": (OPERATOR, c.EraseUser(), BACK_OFFICE),
        "the sender is not a producer of the permissions file": (STRANGER, c.BanUser("x"), None),
    }
    with system.worker(PERMISSIONS=str(file)) as worker:
        worker.ready()
        send_as(system, SIGNUP, registration.body)
        system.outcomes([registration])
        for sender, command, stated in refused.values():
            send_as(system, sender, message(command, user).body, stated)
        letters = {
            letter["MessageAttributes"]["error_detail"]["StringValue"]: letter
            for letter in system.queues.dead_letters(len(refused))
        }
        assert letters.keys() == refused.keys()
        assert system.user(user).version == 1
        bans = [message(c.BanUser("spam"), user), message(c.UnbanUser(), user)]
        send_as(system, BACK_OFFICE, bans[0].body)
        system.outcomes([bans[0]])
        send_as(system, OPERATOR, bans[1].body, BACK_OFFICE)  # as a redrive sends it
        outcomes = system.outcomes(bans)
    assert [outcome.code for outcome in outcomes] == [None, None]
    assert {(each.producer, each.principal) for each in outcomes} == {("back-office", BACK_OFFICE)}
    for detail, (sender, _, stated) in refused.items():
        told = letters[detail]["MessageAttributes"]
        first = stated if sender == OPERATOR else sender
        assert told[PRINCIPAL]["StringValue"] == first
        assert told["error_code"]["StringValue"] == NOT_PERMITTED


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("allow_al = true\n", "line 1: allow_al is not a field"),
        (None, "cannot be read: No such file or directory"),
        (b"\xff", "line 1: is not UTF-8"),
    ],
)
def test_a_worker_with_an_invalid_file_ends_with_one_line(
    tmp_path: Path, content: str | bytes | None, problem: str
) -> None:
    """The exit code is that of a wrong environment."""
    file = tmp_path / "permissions.toml"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())

    done = CommandLine().start("run", USER_WORKER_PERMISSIONS=str(file))

    assert done.code == 3
    _, line = done.err.splitlines()  # after the command line that runs
    assert line.startswith(f"error: {file}: {problem}")


def test_in_production_a_worker_needs_a_file() -> None:
    """Without one, any service that may send could make itself an administrator."""
    done = CommandLine().start(
        "run", USER_WORKER_ENV="prod", USER_WORKER_HASH_KEYS="k" * 32, USER_WORKER_PERMISSIONS=""
    )

    assert done.code == 3
    _, line = done.err.splitlines()
    assert line.startswith("error: USER_WORKER_PERMISSIONS is not set; name the file")
