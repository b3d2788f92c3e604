"""A real worker: secrets in messages of any shape are in the quarantine queue only.

A redrive sends the unchanged messages, and a worker that accepts them by then applies them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from domain import commands as c
from tests.builders import register
from tests.e2e.command_line import CommandLine
from tests.e2e.system import System, log_lines, message
from tests.e2e.worker_process import WorkerProcess, eventually
from tests.secrets import NAMES, SECRET, SHAPES, reveals
from worker.errors import ExitCode

pytestmark = [pytest.mark.e2e, pytest.mark.aws]

UNKNOWN_TYPE = "of an unknown type"
"""The shape that is retried, because a later worker may know the type."""


@pytest.fixture(params=[False, True], ids=["standard", "fifo"])
def either(request: pytest.FixtureRequest, aws_endpoint: str, tmp_path: Path) -> Iterator[System]:
    """A system of each kind."""
    system = System.create(aws_endpoint, tmp_path, fifo=request.param)
    yield system
    system.delete()


def attributes_of(row: dict[str, Any]) -> dict[str, str]:
    """Return the message attributes as plain texts."""
    return {name: value["StringValue"] for name, value in row["MessageAttributes"].items()}


def test_no_secret_leaves_the_quarantine_queue(either: System) -> None:
    """Each original is there byte for byte; no letter, output, log line or event shows a secret."""
    system = either
    shapes = {name: shape for name, shape in SHAPES.items() if name != UNKNOWN_TYPE}
    texts = [
        shape(NAMES[(7 * number) % len(NAMES)]) for number, shape in enumerate(shapes.values())
    ]
    cli = CommandLine.on(system.names, system.endpoint)
    with system.worker() as worker:
        worker.ready()
        fifo = system.names.command_queue.endswith(".fifo")
        sent = [system.queues.send(text, group=str(uuid4()) if fifo else None)[0] for text in texts]
        eventually(system.queues.empty, 60, "an empty queue")
        listed = cli.run("dlq", "list", "--each", "--json").out
        rows = [json.loads(line) for line in listed.splitlines()]
        # a valid hash is shown, which `CommandLine` does not allow in output
        chosen = [row["message_id"] for row in rows if row["command_type"] is None][:8]
        shown = "".join(cli.run("dlq", "show", letter).out for letter in chosen)
        log = worker.log
    letters = system.queues.dead_letters(len(texts))
    originals = system.queues.originals(len(texts))

    kept = {attributes_of(row)["original_message_id"]: row["Body"] for row in originals}
    with_letter = {attributes_of(row)["original_message_id"] for row in letters}
    changed = {
        attributes_of(row)["original_message_id"]
        for row in letters
        if "quarantined" in attributes_of(row)
    }
    assert kept.keys() == changed
    assert all(kept[name] == text for name, text in zip(sent, texts, strict=True) if name in kept)
    secretive = {name for name, text in zip(sent, texts, strict=True) if reveals(text)}
    assert secretive & with_letter <= changed
    assert len(changed) > 25
    assert "[string of " in shown
    for text in (json.dumps(letters), listed, shown, log, json.dumps(system.events())):
        assert not reveals(text)


@pytest.fixture
def brief(aws_endpoint: str, tmp_path: Path) -> Iterator[System]:
    """A system whose messages soon return if the last poll of a stopped worker takes them."""
    system = System.create(aws_endpoint, tmp_path, visibility_timeout=5)
    yield system
    system.delete()


def test_the_original_is_applied_once_the_worker_permits_its_type(
    brief: System, tmp_path: Path
) -> None:
    """The permissions are what is corrected; an extension has the secret."""
    system = brief
    file = tmp_path / "permissions.toml"
    producer = """
[[producer]]
name = "signup"
queues = ["*"]
principals = ["*"]
sources = ["*"]
commands = {}
"""
    file.write_text(producer.format('["RegisterUser"]'))
    user, cli = str(uuid4()), CommandLine.on(system.names, system.endpoint)
    ban = message(c.BanUser("spam"), user)
    body = json.dumps(json.loads(ban.body) | {"hint": SECRET})
    with system.worker(PERMISSIONS=str(file), VISIBILITY_TIMEOUT="5") as worker:
        worker.ready()
        system.do(message(register(uuid4().hex), user))
        (sent,) = system.queues.send(body)
        eventually(lambda: log_lines(worker, "message_not_permitted"), what="a refusal")
        row = eventually(lambda: cli.run("dlq", "list", "--each", "--json").out, what="a letter")
        assert json.loads(str(row))["redacted"] is True
        refused = cli.run("dlq", "redrive", "--yes", USER_WORKER_QUARANTINE_QUEUE="absent")
        assert "1 redacted dead letter was left: queue absent does not exist" in refused.err
        assert not reveals(refused.err + str(row) + worker.log)
        assert system.caused_by(ban) == set()

    file.write_text(producer.format('["*"]'))
    with system.worker(PERMISSIONS=str(file), VISIBILITY_TIMEOUT="5") as worker:
        worker.ready()
        done = cli.run("dlq", "redrive", "--yes", "--json")
        assert json.loads(done.out)["redriven"] == 1
        (outcome,) = system.outcomes([ban])
        assert outcome.code is None
        assert system.user(user).ban is not None
        assert not reveals(worker.log)
    assert system.queues.dead_letters(1, seconds=1) == []
    assert system.queues.originals(1, seconds=1) == []
    assert sent


def test_a_permitted_sender_gets_an_answer_without_a_value(system: System) -> None:
    """By OutcomeListener's event, before the letter is sent, once for the message."""
    bad = message(register(uuid4().hex), str(uuid4()))
    body = json.loads(bad.body)
    body["data"]["password_hash"] = SECRET
    with system.worker() as worker:
        worker.ready()
        system.queues.send(json.dumps(body))
        ids = eventually(lambda: system.caused_by(bad), what="an answer")
        (letter,) = system.queues.dead_letters(1)
    assert isinstance(ids, set)
    (event,) = [each for each in system.events() if each["id"] in ids]
    assert event["data"] == {
        "command_id": bad.command_id,
        "command_type": "biome.user.RegisterUser.v1",
        "code": "InvalidField",
    }
    assert attributes_of(letter)["quarantined"] == "redacted"


def test_while_the_quarantine_queue_is_missing_nothing_is_lost(system: System) -> None:
    """The message stays and its letter is not sent; both follow when the queue is there."""
    with system.worker(VISIBILITY_TIMEOUT="5") as worker:
        worker.ready()
        system.queues.sqs.delete_queue(QueueUrl=system.queues.quarantine_url)
        first = message(register(uuid4().hex), str(uuid4()))
        system.queues.send(SECRET, first.body, f"{SECRET} again")
        system.outcomes([first])
        eventually(lambda: log_lines(worker, "settling_failed"), 60, "a refusal")
        assert system.queues.dead_letters(1, seconds=1) == []
        name = system.names.quarantine_queue
        system.queues.quarantine_url = system.queues.sqs.create_queue(QueueName=name)["QueueUrl"]
        letters = system.queues.dead_letters(2, seconds=60)
        assert {row["Body"] for row in system.queues.originals(2)} == {SECRET, f"{SECRET} again"}
        assert not reveals(json.dumps(letters) + worker.log)
        _is_running(worker)
        eventually(system.queues.empty, 30, "an empty queue")


def _is_running(worker: WorkerProcess) -> None:
    assert worker.process.poll() is None


def test_a_command_that_is_dead_lettered_before_anybody_listens_is_found(system: System) -> None:
    """`send --wait` searches the dead letters at the end: the event came within its first second.

    The role is known to the sender only, so the worker dead-letters the command at once.
    """
    cli, user = CommandLine.on(system.names, system.endpoint), str(uuid4())
    words = ("send", "AssignRole", "role=boss", "--user", user, "--wait", "2")
    with system.worker() as worker:
        worker.ready()
        done = cli.run(*words, USER_WORKER_ROLES="boss")
        as_json = cli.run(*words, "--json", USER_WORKER_ROLES="boss")
    assert (done.code, as_json.code) == (ExitCode.NEGATIVE, ExitCode.NEGATIVE)
    assert done.out.startswith("dead-lettered InvalidField: AssignRole ")
    row = json.loads(as_json.out)
    assert (row["status"], row["code"], row["user_id"]) == ("dead-lettered", "InvalidField", user)
    assert len(system.queues.dead_letters(2)) == 2
