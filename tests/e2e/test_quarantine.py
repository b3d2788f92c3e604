"""A real worker: secrets in messages of any shape are in the quarantine queue only.

A redrive sends the unchanged messages, and a worker that accepts them by then applies them.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from domain import commands as c
from operations.free_port import free_port
from tests.builders import register
from tests.e2e.collector import Collector
from tests.e2e.command_line import CommandLine
from tests.e2e.system import System, log_lines, message
from tests.e2e.worker_process import WorkerProcess, eventually
from tests.secrets import NAMES, SECRET, SHAPES, TRACEPARENT, reveals
from tests.unit.application.messages.examples import USER_ID
from tests.unit.console.served import console
from worker.errors import ExitCode

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


@dataclass(frozen=True, slots=True)
class Watch:
    """Output of a worker beside its log: spans and metrics at a collector, health at a port."""

    collector: Collector
    port: int

    def health(self) -> str:
        """Return the answers of the health server."""
        found = []
        for path in ("/live", "/ready", "/metrics"):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            connection.request("GET", path)
            with connection.getresponse() as answer:
                found.append(f"{answer.status} {answer.getheaders()} {answer.read().decode()}")
            connection.close()
        return "\n".join(found)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Configure later workers to send all spans and to serve their health."""
    with Collector() as collector:
        port = free_port()
        for name, value in {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_TRACES_SAMPLER": "always_on",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "USER_WORKER_HEALTH_PORT": str(port),
        }.items():
            monkeypatch.setenv(name, value)
        yield Watch(collector, port)


def outputs(cli: CommandLine) -> Iterator[str]:
    """Yield what commands print that inspect the system while it has dead letters."""
    for words in (
        ["status"],
        ["doctor"],
        ["outbox", "list"],
        ["dlq", "list"],
        ["dlq", "redrive", "--dry-run"],
        ["dlq", "purge", "--dry-run"],
        ["user", USER_ID, "--history"],
        ["health"],
    ):
        for form in ([], ["--json"]):
            done = cli.run(*words, *form)
            yield done.out + done.err


def pages(cli: CommandLine, letters: list[str]) -> Iterator[str]:
    """Yield the pages of a console that show the system and these dead letters."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cli.environment.items():
            patch.setenv(name, value)
        browser = console(write=True)
        for path in ("/", "/overview/part", "/dead-letters", "/outbox", "/jobs", "/users"):
            yield browser.get(path).text
        yield browser.get(f"/users/{USER_ID}").text
        for letter in letters:
            for part in ("", "/edit"):
                yield browser.get(f"/dead-letters/{letter}{part}").text


def test_no_secret_leaves_the_quarantine_queue(either: System, watch: Watch) -> None:
    """Each original is there byte for byte; nothing else shows a secret.

    Neither a letter, an event, a log line, a span, a metric or the health of the worker, nor an
    output of the command line or a page of the console.
    """
    system = either
    shapes = {name: shape for name, shape in SHAPES.items() if name != UNKNOWN_TYPE}
    texts = [
        shape(NAMES[(7 * number) % len(NAMES)]) for number, shape in enumerate(shapes.values())
    ]
    traced = message(
        register(uuid4().hex),
        str(uuid4()),
        traceparent=TRACEPARENT,
        tracestate=f"vendor={SECRET}",
        baggage=f"key={SECRET}",
    )
    cli = CommandLine.on(system.names, system.endpoint)
    with system.worker() as worker:
        worker.ready()
        fifo = system.names.command_queue.endswith(".fifo")
        system.send(traced, group=traced.user_id if fifo else None)
        sent = [system.queues.send(text, group=str(uuid4()) if fifo else None)[0] for text in texts]
        eventually(system.queues.empty, 60, "an empty queue")
        health = watch.health()
        listed = cli.run("dlq", "list", "--each", "--json").out
        rows = [json.loads(line) for line in listed.splitlines()]
        # a valid hash is shown, which `CommandLine` does not allow in output
        chosen = [row["message_id"] for row in rows if row["command_type"] is None][:8]
        shown = "".join(cli.run("dlq", "show", letter).out for letter in chosen)
        printed = "".join(outputs(cli))
        read = list(pages(cli, [row["message_id"] for row in rows]))
        assert worker.stop() == 0, worker.log
        log = worker.log
    # all letters are there, because the command queue is empty
    letters = system.queues.dead_letters(len(rows))
    redacted = sum("quarantined" in attributes_of(row) for row in letters)
    originals = system.queues.originals(redacted)
    assert system.queues.dead_letters(1, seconds=1) == []
    assert system.queues.originals(1, seconds=1) == []
    events = [e for e in system.events() if e["causationid"] != traced.command_id]

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
    assert any("[string of " in page for page in read)
    emitted = watch.collector.everything()
    assert "handle batch" in emitted
    assert "user_worker.dead_letters" in emitted
    searched = [json.dumps(letters), listed, shown, log, json.dumps(events)]
    for text in (*searched, *texts_of(emitted), health, printed, *read):
        assert not reveals(text)


def texts_of(emitted: str) -> set[str]:
    """Return the different lines of spans and metrics, without ids, which makes a search fast."""
    ids = ("trace_id:", "span_id:", "parent_span_id:")
    return {line for each in emitted.splitlines() if not (line := each.strip()).startswith(ids)}


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


def test_while_the_quarantine_queue_is_missing_nothing_is_lost(
    system: System, watch: Watch
) -> None:
    """The message stays and its letter is not sent; both follow when the queue is there."""
    with system.worker(VISIBILITY_TIMEOUT="5") as worker:
        worker.ready()
        system.queues.sqs.delete_queue(QueueUrl=system.queues.quarantine_url)
        first = message(register(uuid4().hex), str(uuid4()))
        system.queues.send(SECRET, first.body, f"{SECRET} again")
        system.outcomes([first])
        eventually(lambda: log_lines(worker, "settling_failed"), 60, "a refusal")
        health = eventually(
            lambda: found if "503" in (found := watch.health()) else "", what="a reason in health"
        )
        assert not reveals(health)
        assert system.queues.dead_letters(1, seconds=1) == []
        name = system.names.quarantine_queue
        system.queues.quarantine_url = system.queues.sqs.create_queue(QueueName=name)["QueueUrl"]
        letters = system.queues.dead_letters(2, seconds=60)
        assert {row["Body"] for row in system.queues.originals(2)} == {SECRET, f"{SECRET} again"}
        assert not reveals(json.dumps(letters) + worker.log)
        _is_running(worker)
        eventually(system.queues.empty, 30, "an empty queue")
    assert not any(map(reveals, texts_of(watch.collector.everything())))


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
