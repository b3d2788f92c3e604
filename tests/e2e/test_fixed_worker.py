"""A worker with a fault dead-letters valid commands; a fixed one applies them after a redrive."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.builders import register
from tests.e2e.command_line import CommandLine
from tests.e2e.faults import BROKEN, REFUSED, UNKNOWN
from tests.e2e.proxy import Exchange, FaultyProxy
from tests.e2e.system import THREADS, Message, System, decided, message
from tests.e2e.worker_process import eventually
from tests.fuzz.bodies import FORMS
from tests.secrets import SECRET, reveals

pytestmark = [pytest.mark.timeout(120)]

NAME = "Zoë"
BRIEF = {"VISIBILITY_TIMEOUT": "5"}
"""A message that the last poll of a stopped worker takes soon returns."""
AT_ONCE = {"MAX_RECEIVES": "1"}
"""The worker dead-letters at the first receive what it would retry."""


@dataclass(slots=True)
class Redriven:
    """A fault that records the bodies that are sent to a queue, and forwards the calls."""

    queue: str
    bodies: list[str] = field(default_factory=list)

    def strike(self, exchange: Exchange) -> None:
        """Record the bodies of this queue."""
        asked = json.loads(exchange.asked)
        if asked["QueueUrl"].endswith(f"/{self.queue}"):
            self.bodies += [entry["MessageBody"] for entry in asked["Entries"]]
        exchange.answer(exchange.forward())


@pytest.fixture(params=[False, True], ids=["standard", "fifo"])
def either(request: pytest.FixtureRequest, aws_endpoint: str, tmp_path: Path) -> Iterator[System]:
    """A system of each kind."""
    system = System.create(aws_endpoint, tmp_path, fifo=request.param, visibility_timeout=5)
    yield system
    system.delete()


def registrations() -> list[Message]:
    """Create a registration in each form that the worker accepts, with a secret in an extension."""
    made = []
    for form in FORMS:
        user = str(uuid4())
        plain = message(replace(register(f"user-{user}"), first_name=NAME), user)
        event = json.loads(plain.body) | {"hint": SECRET}
        made.append(Message(plain.command_id, user, form(event)))
    return made


def letters_of(cli: CommandLine, count: int) -> list[dict[str, Any]]:
    """Wait for dead letters; return them as the command line lists them."""

    def listed() -> list[dict[str, Any]]:
        lines = cli.run("dlq", "list", "--each", "--json").out.splitlines()
        rows = [json.loads(line) for line in lines]
        return rows if len(rows) == count else []

    return eventually(listed, 60, f"{count} dead letters")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(UNKNOWN, "UnknownType"), (REFUSED, "InvalidField"), (BROKEN, "Unforeseen")],
)
def test_originals_are_applied_once_by_a_fixed_worker(
    either: System, fault: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault is in the code of the worker; what is redriven is byte for byte what was sent."""
    system = either
    sent = registrations()
    cli = CommandLine.on(system.names, system.endpoint)
    fifo = system.names.command_queue.endswith(".fifo")
    monkeypatch.setenv("APP_FAULT", fault)
    with system.worker(THREADS, app="tests.e2e.faulty_app", **BRIEF, **AT_ONCE) as faulty:
        faulty.ready()
        for each in sent:
            system.queues.send(each.body, group=each.user_id if fifo else None)
        letters = letters_of(cli, len(sent))
        assert {row["reason"] for row in letters} == {reason}
        assert all(row["redacted"] for row in letters)
        eventually(system.queues.empty, 30, "an empty queue")
        assert faulty.stop() == 0, faulty.log
    assert system.load(outcomes={each.key for each in sent}).outcomes == {}
    assert not reveals(faulty.log)

    with (
        FaultyProxy(system.endpoint) as proxy,
        system.worker(THREADS, **BRIEF) as fixed,
    ):
        fixed.ready()
        redriven = Redriven(system.names.command_queue)
        proxy.inject(redriven, "SendMessageBatch")
        done = cli.run("dlq", "redrive", "--yes", "--json", AWS_ENDPOINT_URL=proxy.url)
        assert json.loads(done.out)["redriven"] == len(sent), done.err
        outcomes = system.outcomes(sent, 60)
        again = cli.run("dlq", "redrive", "--yes", "--json")
        assert json.loads(again.out)["redriven"] == 0
        eventually(system.queues.empty, 30, "an empty queue")
        published = Counter(event["type"] for event in system.published(outcomes))
        assert published == {"biome.user.UserRegistered.v1": len(sent)}
        assert Counter(redriven.bodies) == Counter(each.body for each in sent)
        assert [line["outcome"] for line in decided(fixed)] == ["accepted"] * len(sent)
        assert not reveals(fixed.log + done.err)
    assert [outcome.code for outcome in outcomes] == [None] * len(sent)
    for each in sent:
        assert each.user_id is not None
        user = system.user(each.user_id)
        assert (user.first_name, user.version) == (NAME, 1)
    assert system.queues.dead_letters(1, seconds=1) == []
    assert system.queues.originals(1, seconds=1) == []
