"""Two versions of the worker on one queue and one table, while a deployment rolls."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any
from uuid import uuid4

import boto3
import pytest

from adapters.dynamodb import Backoff
from adapters.dynamodb.migration import Bucket, MeteredTable, Migration, PageMigration, Progress
from domain import commands as c
from tests.builders import register
from tests.e2e.next_version import KINDS_NEXT, BanUserV2
from tests.e2e.system import THREADS, Message, System, decided, event_ids, log_lines, message
from tests.e2e.worker_process import WorkerProcess, eventually, worker

pytestmark = [pytest.mark.e2e, pytest.mark.aws]

USERS = 10


def version(system: System, number: int) -> AbstractContextManager[WorkerProcess]:
    """Run a worker of today's version, or of the next."""
    return worker(
        system.names,
        system.endpoint,
        system.folder,
        THREADS,
        app="tests.e2e.versioned_app",
        APP_VERSION=str(number),
        USER_WORKER_ENV="test",
        USER_WORKER_TABLE=system.names.table,
        USER_WORKER_EVENTS_TOPIC=system.names.events_topic,
        USER_WORKER_BATCH_SIZE="10",
    )


def newer_ban(user: str, reason: str) -> Message:
    """Make a command of the newer version."""
    command_id = str(uuid4())
    event = {"specversion": "1.0", "id": command_id, "source": "/test", "subject": user}
    body = json.dumps(
        {**event, "type": BanUserV2.type, "data": {"ground": "fraud", "reason": reason}}
    )
    return Message(command_id, user, body)


def wave(system: System, users: Sequence[str], number: int) -> list[Message]:
    """Send, of both versions, commands that each change something; some of them twice."""
    older = [message(c.BanUser(f"older {number}"), user) for user in users]
    others = renamings(users)
    newer = [newer_ban(user, f"newer {number}") for user in users]
    system.send(*older, *others, *newer, *older[:3])
    return [*older, *others, *newer]


def renamings(users: Sequence[str]) -> list[Message]:
    """Make commands that both versions know."""
    return [message(c.UpdateProfile(first_name=str(uuid4())), user) for user in users]


def put_off(old: WorkerProcess) -> set[str]:
    """Give why commands had to wait for a worker of the newer version."""
    return {line["code"] for line in log_lines(old) if line.get("outcome") == "later"}


def user_items(system: System) -> list[dict[str, Any]]:
    """Read all users as they are stored."""
    client: Any = boto3.client("dynamodb", endpoint_url=system.endpoint)
    items = client.scan(TableName=system.names.table, ConsistentRead=True)["Items"]
    return [item for item in items if item["sk"] == {"S": "USER"}]


def migrate(system: System) -> Progress:
    """Migrate the users to the next version's format."""
    client = boto3.client("dynamodb", endpoint_url=system.endpoint)
    metered = MeteredTable(client, system.names.table, Bucket(1e6), Bucket(1e6), Backoff(tries=10))
    progress = Progress.start(2)
    pages = PageMigration(metered, KINDS_NEXT)
    Migration(metered, pages, progress, threading.Event()).run(lambda _: None)
    return progress


def test_a_rolling_deployment_loses_doubles_and_buries_nothing(system: System) -> None:
    """Old and new beside each other, then the new alone, then a migration beside it.

    What the old one cannot read, a newer message or a newer item, waits for the new one.
    """
    users = [str(uuid4()) for _ in range(USERS)]
    busy, quiet = users[: USERS // 2], users[USERS // 2 :]
    sent = [message(register(f"user-{user}"), user) for user in users]
    with version(system, 1) as old:
        system.send(*sent)
        system.outcomes(sent)
        with version(system, 2) as new:
            new.ready()
            while not decided(new):  # then both poll, and what one puts off the other gets soon
                sent += renamings(busy)
                system.send(*sent[-len(busy) :])
                eventually(lambda: system.queues.depth()[0] == 0, what="a look at each")
            for number in range(20):
                sent += wave(system, busy, number)
                eventually(lambda: system.queues.depth()[0] == 0, what="a look at each")
                if {"UnknownType", "Unreadable"} <= put_off(old):
                    break
            assert {"UnknownType", "Unreadable"} <= put_off(old)
            sent += wave(system, busy, 100)  # in hand while the old one stops
            assert old.stop() == 0, old.log
            sent += wave(system, busy, 101)
            migrated = migrate(system)
            outcomes = system.outcomes(sent, 60)
            assert migrated.counts.left == 0
            assert migrated.counts.changed >= len(quiet)
            assert {outcome.status.value for outcome in outcomes} == {"accepted"}
            eventually(system.queues.empty, what="an empty queue")
    _assert_whole(system, sent, outcomes)


def _assert_whole(system: System, sent: Sequence[Message], outcomes: Sequence[Any]) -> None:
    """Check that every command had its one effect, and its event, and nothing is left over."""
    effects: dict[str | None, list[int]] = {}
    for each, outcome in zip(sent, outcomes, strict=True):
        assert outcome.command_id == each.command_id
        numbers = [event.sequence for event in outcome.events if event.sequence is not None]
        effects.setdefault(each.user_id, []).extend(numbers)
    assert all(sorted(found) == list(range(1, len(found) + 1)) for found in effects.values())
    items = {item["user_id"]["S"]: item for item in user_items(system)}
    assert {item["schema"]["N"] for item in items.values()} == {"2"}
    assert {user: int(item["version"]["N"]) for user, item in items.items()} == {
        user: len(found) for user, found in effects.items()
    }
    system.published(outcomes)
    assert {event["id"] for event in system.events()} == event_ids(outcomes)
    assert system.queues.dead_letters(1, seconds=0) == []
