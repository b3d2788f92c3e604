"""Procedures of docs/how-to/runbook.md, run with the commands of the page."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError

from adapters.dynamodb.provision import provision_table
from adapters.dynamodb.repository import DynamoDBUserRepository
from application.disposition import Ack
from application.messages import render_events
from application.repository import LoadRequest, Outcome, Status
from domain import commands as c
from domain.user import User
from tests.builders import message as received
from tests.builders import register
from tests.e2e.command_line import CommandLine
from tests.e2e.system import THREADS, Message, System, message
from tests.e2e.worker_process import eventually
from worker import bootstrap
from worker.settings import load_settings

pytestmark = [pytest.mark.xdist_group("runbook")]

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "runbook.md").read_text()
EAGER = {"RELAY_AGE": "0", "RELAY_INTERVAL": "0.05"}
ADDRESS = "erase.me@example.com"


def lines(part: str) -> list[str]:
    """Return the lines of shell in a section of the page."""
    [text] = re.findall(rf"^### {re.escape(part)}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines()]


@dataclass(slots=True)
class World:
    """A system without a worker until it is thawed, and the command line on it."""

    system: System
    cli: CommandLine
    workers: contextlib.ExitStack
    thawed: bool = field(default=False)

    def thaw(self) -> None:
        """Start a worker, once."""
        if not self.thawed:
            self.workers.enter_context(self.system.worker(THREADS, **EAGER)).ready()
            self.thawed = True

    def run(self, line: str, **variables: str) -> dict[str, Any]:
        """Run a line of the page with its variables filled in; return the JSON that it prints."""
        for name, value in variables.items():
            line = line.replace(f"${name}", value)
        program, *words = shlex.split(line)
        assert program == "user-worker"
        done = self.cli.run(*words)
        assert done.code == 0, done.err
        found: dict[str, Any] = json.loads(done.out) if done.out.startswith("{") else {}
        return found


@pytest.fixture(scope="module")
def world(aws_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all tests, because a worker takes seconds to start."""
    system = System.create(aws_endpoint, tmp_path_factory.mktemp("runbook"))
    with contextlib.ExitStack() as workers:
        yield World(system, CommandLine.on(system.names, aws_endpoint), workers)
    system.delete()


def within(line: str) -> str:
    """Return the command that `until COMMAND | jq ...; do ...` repeats."""
    found = re.match(r"until (.*?) \| jq -e '", line)
    assert found
    return found[1]


def holds(line: str, told: dict[str, Any]) -> bool:
    """Return True if `until ... | jq -e CONDITION` ends with this result."""
    condition = shlex.split(line.partition(" | ")[2])[2].removesuffix(";")
    if shutil.which("jq") is None:
        pytest.skip("the page's conditions are for jq, which is not installed")
    done = subprocess.run(
        ["jq", "-e", condition],
        input=json.dumps(told),
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
    )
    assert done.returncode in {0, 1}, done.stderr
    return done.returncode == 0


def test_a_frozen_queue_keeps_what_is_sent_and_is_drained_when_thawed(world: World) -> None:
    """Nothing is rejected, answered or stored while frozen; thawed, all of it is decided."""
    user = str(uuid4())
    sent = message(register("frozen"), user)
    world.system.send(sent)
    name = ("first_name=Grace", "--user", user)
    waiting = world.cli.run("send", "UpdateProfile", *name, "--wait", "1")
    assert waiting.code == 4, waiting.err
    [look] = [line for line in lines("Freeze writes") if line.startswith("user-worker status")]
    frozen = world.run(look.partition(" | ")[0])
    assert [*frozen["command_queues"].values()] == [{"visible": 2, "in_flight": 0, "delayed": 0}]
    assert world.system.repository.get(user) is None

    world.thaw()
    [_, until] = lines("Drain a queue")
    assert not holds(until, frozen)
    idle = {"visible": 0, "in_flight": 0, "delayed": 0}
    queues = {"old": idle | {"in_flight": 1}, "new": idle}
    assert not holds(until, {"command_queues": queues, "outbox": {"pending": 0}})
    assert not holds(until, {"command_queues": {"new": idle}, "outbox": {"pending": 1}})
    assert holds(until, {"command_queues": {"old": idle, "new": idle}, "outbox": {"pending": 0}})
    eventually(lambda: holds(until, world.run(within(until))), 60, "an empty queue and outbox")
    assert world.system.user(user).first_name == "Grace"
    assert [each.status for each in world.system.repository.history(user)] == [
        Status.ACCEPTED,
        Status.ACCEPTED,
    ]


def test_a_person_is_erased_and_the_export_proves_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands of the page leave nothing of the user in the table but the tombstone."""
    world.thaw()
    monkeypatch.chdir(tmp_path)
    user = str(uuid4())
    world.system.do(message(register(ADDRESS.partition("@")[0]), user))
    before = world.cli.run("export", user).out
    assert ADDRESS in before
    assert "Lovelace" in before

    _, erase, until, prove = lines("Erase a person and prove it")
    world.run(erase, user=user)
    scrubbed = within(until)

    def only_the_second_is_left() -> bool:
        return [e.get("final") for e in world.run(scrubbed, user=user)["outbox"]] == [True]

    eventually(only_the_second_is_left, 60, "the end of the first scrub")
    world.run(prove, user=user)

    proof = (tmp_path / "proof.json").read_text()
    told = json.loads(proof)
    assert ADDRESS not in proof.lower()
    assert "Ada" not in proof
    assert "Lovelace" not in proof
    assert told["user"]["erased"] is True
    assert (told["user"]["first_name"], told["user"]["last_name"]) == ("", "")
    assert "email" not in told["user"]
    assert (told["address"], told["two_factor"], told["sessions"]) == (None, None, [])
    assert len(told["outcomes"]) == 2
    assert world.cli.run("export", ADDRESS).code == 1


# --- a restored table ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Table:
    """A table, with this worker's batches on it, which publishes to the system's topic."""

    name: str
    system: System

    def do(self, *messages: Message) -> list[Outcome]:
        """Handle messages as one batch; return the outcomes."""
        topic = self.system.names.events_topic
        settings = load_settings(env="test", table=self.name, events_topic=topic)
        handle = bootstrap.build(settings).batch.handle
        done = handle([received(each.body, age=0) for each in messages])
        assert done.items == (Ack(),) * len(messages)
        found = self._repository().load(LoadRequest(outcomes={each.key for each in messages}))
        return [found.outcomes[each.key] for each in messages]

    def user(self, user_id: str) -> User:
        """Return a user, who must exist."""
        user = self._repository().get(user_id)
        assert user is not None
        return user

    def _repository(self) -> DynamoDBUserRepository:
        client = boto3.client("dynamodb", endpoint_url=self.system.endpoint)
        return DynamoDBUserRepository(client, self.name)


def sequences(outcomes: list[Outcome]) -> list[str]:
    """Return the sequences with which the outcomes' events are published."""
    bodies = [json.loads(e.body) for outcome in outcomes for e in render_events(outcome)]
    return [body["sequence"] for body in bodies]


def copied(system: System, name: str) -> Table:
    """Create a table with the data stored now, as point-in-time recovery would."""
    dynamodb: Any = boto3.client("dynamodb", endpoint_url=system.endpoint)
    provision_table(dynamodb, name)
    for page in dynamodb.get_paginator("scan").paginate(TableName=system.names.table):
        for item in page["Items"]:
            dynamodb.put_item(TableName=name, Item=item)
    return Table(name, system)


def raise_version(dynamodb: Any, table: str, user: str) -> None:
    """Do what the page's `aws dynamodb update-item` does."""
    [line] = [line for line in lines("Restore the table") if "update-item" in line]
    words = shlex.split(line.replace("$user", user))
    options = dict(zip(words[3::2], words[4::2], strict=True))
    dynamodb.update_item(
        TableName=table,
        Key=json.loads(options["--key"]),
        UpdateExpression=options["--update-expression"],
        ConditionExpression=options["--condition-expression"],
        ExpressionAttributeValues=json.loads(options["--expression-attribute-values"]),
    )


def test_after_a_restore_no_sequence_is_published_twice(world: World) -> None:
    """Without the page's step a sequence would be reused, and subscribers would drop the event."""
    system, user, late = world.system, str(uuid4()), str(uuid4())
    table = Table(system.names.table, system)
    dynamodb: Any = boto3.client("dynamodb", endpoint_url=system.endpoint)
    published = table.do(message(register("restored"), user))
    published += table.do(message(c.UpdateProfile("Then"), user))
    restored = copied(system, f"{system.names.table}-restored")
    try:
        published += table.do(message(c.UpdateProfile("Damage"), user))
        published += table.do(message(register("afterwards"), late))

        stored = restored.user(user)
        assert f"{stored.version + 1:020}" in sequences(published)  # the reason for the step

        raise_version(dynamodb, restored.name, user)
        with pytest.raises(ClientError, match="ConditionalCheckFailed"):
            # This user registered after the restored point and is gone.
            raise_version(dynamodb, restored.name, late)
        again = restored.do(message(c.UpdateProfile("Mended"), user))
        assert min(sequences(again)) > max(sequences(published))
        assert sequences(again) == [f"{stored.version + 1000 + 1:020}"]
        [register_again] = restored.do(message(register("afterwards"), late))
        assert register_again.status is Status.ACCEPTED
    finally:
        dynamodb.delete_table(TableName=restored.name)
