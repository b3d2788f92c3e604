"""A real worker and malformed bodies: each is dead-lettered with its reason and blocks nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from application.repository import Status
from domain import commands as c
from tests.builders import register
from tests.e2e.system import Message, System, log_lines, message
from tests.e2e.worker_process import WorkerProcess, eventually

pytestmark = [pytest.mark.xdist_group("malformed")]

SECRET = "correct horse battery staple"
PERSONAL = "Zaphod.Beeblebrox"
"""Part of every body; no reason and no log line may contain it."""
MAX_RECEIVES = 3
HASH = register("x").password_hash.value


def event(**changes: Any) -> dict[str, Any]:
    """Create a registration as a CloudEvent, with changed attributes; `data` adds to its data."""
    data = {
        "email": f"{PERSONAL}@example.com",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "password_hash": HASH,
    }
    return {
        "specversion": "1.0",
        "id": str(uuid4()),
        "source": "/test",
        "type": "biome.user.RegisterUser.v1",
        "subject": str(uuid4()),
        **changes,
        "data": data | changes.get("data", {}),
    }


def celery(body: bytes) -> dict[str, Any]:
    """Create a Celery message as kombu's SQS transport sends it, with its own body."""
    return {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": "biome.user.RegisterUser.v1", "id": str(uuid4()), "lang": "py"},
        "properties": {"body_encoding": "base64", "delivery_tag": str(uuid4())},
    }


def nested(size: int) -> str:
    """Return nested JSON arrays of `size` bytes."""
    return "[" * (size // 2) + "]" * (size // 2)


MALFORMED: dict[str, tuple[str, str, str]] = {
    "not JSON": (f"{{{PERSONAL}", "NotJson", "not JSON"),
    "no JSON at all": (f"register {PERSONAL}!", "NotJson", "not JSON"),
    "a JSON list": (json.dumps([PERSONAL]), "NotACommand", "must be one JSON object"),
    "JSON without an envelope": (
        json.dumps({"email": PERSONAL}),
        "NotACommand",
        "specversion: is missing",
    ),
    "a properties key": (
        json.dumps({"properties": {"delivery_info": PERSONAL}, "email": PERSONAL}),
        "NotACommand",
        "specversion: is missing",
    ),
    "properties that are no object": (
        json.dumps({"properties": PERSONAL, "headers": {}, "body": PERSONAL}),
        "NotACommand",
        "headers.task: is missing",
    ),
    "an unknown field": (
        json.dumps(event(data={"nickname": PERSONAL})),
        "UnknownField",
        "data: has an unknown field",
    ),
    "wrong types": (
        json.dumps(event(data={"first_name": 42, "last_name": [PERSONAL]})),
        "InvalidField",
        "data.first_name: must be a string; data.last_name: must be a string",
    ),
    "256 KiB of nesting": (nested(256 * 1024), "TooDeep", "nested more than 32 levels"),
    "nesting in a field": (
        json.dumps(event(data={"first_name": "?"})).replace('"?"', nested(200 * 1024)),
        "TooDeep",
        "nested more than 32 levels",
    ),
    "invalid UTF-8 in base64": (
        base64.b64encode(b'{"specversion": "\xff\xfe"}').decode(),
        "InvalidEncoding",
        "not base64 of UTF-8",
    ),
    "invalid UTF-8 in a Celery body": (
        json.dumps(celery(b'[[], {"email": "\xff\xfe"}, {}]')),
        "InvalidEncoding",
        "not base64 of UTF-8",
    ),
    "an address of 255 characters": (
        json.dumps(event(data={"email": f"{PERSONAL}@{('a' * 56 + '.') * 4}{'b' * 6}.com"})),
        "InvalidField",
        "data.email: ",
    ),
    "a plaintext password where a hash belongs": (
        json.dumps(event(data={"password_hash": SECRET})),
        "InvalidField",
        "data.password_hash: ",
    ),
    "a plaintext password in a field of its own": (
        json.dumps(event(data={"password": SECRET})),
        "UnknownField",
        "data: has an unknown field",
    ),
    "a plaintext password in a Celery task": (
        json.dumps(celery(json.dumps([[], event(data={"password": SECRET})["data"], {}]).encode())),
        "UnknownField",
        "data: has an unknown field",
    ),
}


@pytest.fixture(scope="module")
def running(
    aws_endpoint: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[System, WorkerProcess]]:
    """A system with a worker that dead-letters a message at its third receive."""
    folder = tmp_path_factory.mktemp("malformed")
    system = System.create(aws_endpoint, folder, max_receives=MAX_RECEIVES)
    with system.worker(MAX_RECEIVES=str(MAX_RECEIVES)) as worker:
        yield system, worker.ready()
    system.delete()


def attributes_of(letter: dict[str, Any]) -> dict[str, str]:
    """Return a dead letter's attributes as plain texts."""
    return {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}


def test_every_malformed_body_is_dead_with_its_reason_and_the_worker_goes_on(
    running: tuple[System, WorkerProcess],
) -> None:
    """The reason names the field and the rule. Neither it nor the log has a value or a secret."""
    system, worker = running
    ids = [system.queues.send(body)[0] for body, _, _ in MALFORMED.values()]
    user = str(uuid4())
    [good] = system.do(message(register(user), user))
    assert good.status is Status.ACCEPTED

    letters = system.queues.dead_letters(len(MALFORMED))
    found = {attributes_of(letter)["original_message_id"]: letter for letter in letters}
    assert found.keys() == set(ids)
    for (what, (body, code, detail)), sent in zip(MALFORMED.items(), ids, strict=True):
        attributes = attributes_of(found[sent])
        assert attributes["error_code"] == code, what
        assert detail in attributes["error_detail"], what
        assert "received_at" in attributes, what
        assert PERSONAL not in attributes["error_detail"], what
        assert (found[sent]["Body"] != body) is ("quarantined" in attributes), what
    assert worker.process.poll() is None
    assert len(log_lines(worker, "message_not_understood")) == len(MALFORMED)
    assert PERSONAL not in worker.log
    assert eventually(system.queues.empty)


def test_a_password_in_clear_is_nowhere_afterwards(running: tuple[System, WorkerProcess]) -> None:
    """It is not in the dead letter, the log or in base64; the rest of the command is there."""
    system, worker = running
    bodies = [body for what, (body, _, _) in MALFORMED.items() if "password" in what]
    system.queues.send(*bodies)
    letters = system.queues.dead_letters(len(bodies))
    assert len(letters) == len(bodies)
    for letter in letters:
        assert f"[string of {len(SECRET)} characters]" in letter["Body"]
        assert PERSONAL in letter["Body"]
        assert SECRET not in json.dumps(letter)
    for form in (SECRET, base64.b64encode(SECRET.encode()).decode()[:-4]):
        assert form not in worker.log


@pytest.mark.slow
def test_an_unknown_type_is_retried_and_dead_lettered_at_its_last_receive(
    system: System,
) -> None:
    """A producer may be deployed before its worker: the message is retried, and not lost."""
    with system.worker(MAX_RECEIVES="2") as worker:
        worker.ready()
        new = event(type="biome.user.FreezeUser.v1", data={"password": SECRET})
        [sent] = system.queues.send(new)
        [letter] = system.queues.dead_letters(1, seconds=90)  # the first delay is up to a minute
        eventually(system.queues.empty, what="an empty queue")
        told = [row for row in log_lines(worker) if row.get("message_id") == sent]
    assert [(row["receives"], row["outcome"]) for row in told] == [(1, "later"), (2, "dead")]
    attributes = attributes_of(letter)
    assert attributes["error_code"] == "UnknownType"
    assert attributes["error_detail"] == (
        "type: biome.user.FreezeUser.v1 is not known to this version"
    )
    assert json.loads(letter["Body"])["data"] == "[object of 5 fields]"


def test_a_command_id_used_for_another_command_is_dead(
    running: tuple[System, WorkerProcess],
) -> None:
    """The outcome of the first command stays; the dead letter tells the sender."""
    system, _ = running
    user = str(uuid4())
    first = message(register(user), user)
    [outcome] = system.do(first)
    other = json.loads(message(c.BanUser("fraud"), user).body) | {"id": first.command_id}
    system.send(Message(first.command_id, user, json.dumps(other)))
    [letter] = system.queues.dead_letters(1)
    assert attributes_of(letter)["error_code"] == "CommandIdReused"
    assert system.repository.outcome(first.key) == outcome
    assert system.user(user).ban is None
