"""Three releases of the worker on one queue and table, two at a time, during rolling updates."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import boto3
import pytest

from adapters.dynamodb import Retries
from application.repository import Outcome, Status
from domain import commands as c
from operations.migration.metered import MeteredTable
from operations.migration.pages import PageMigration
from operations.migration.scan import Migration, Progress
from operations.migration.throughput import Bucket
from tests.builders import register
from tests.e2e.next_version import EXPANDED, KINDS_NEXT, NEXT, OLD, BanUserV2
from tests.e2e.system import THREADS, Message, System, decided, event_ids, log_lines, message
from tests.e2e.worker_process import WorkerProcess, eventually, worker

pytestmark = [pytest.mark.embedded]

USERS = 9
UNTIL = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass
class Deployment:
    """A system, the commands sent to it, and the workers that have run on it."""

    system: System
    users: Sequence[str]
    sent: list[Message] = field(default_factory=list)
    workers: list[WorkerProcess] = field(default_factory=list)

    def release(self, name: str) -> AbstractContextManager[WorkerProcess]:
        """Run a worker of a release, with the smallest batches, so that two workers share."""
        system = self.system
        return worker(
            system.names,
            system.endpoint,
            system.folder,
            THREADS,
            app="tests.e2e.versioned_app",
            APP_RELEASE=name,
            USER_WORKER_ENV="test",
            USER_WORKER_TABLE=system.names.table,
            USER_WORKER_EVENTS_TOPIC=system.names.events_topic,
            USER_WORKER_BATCH_SIZE="10",
        )

    def send(self, *messages: Message) -> None:
        """Send commands, the first three of them twice."""
        self.sent += messages
        self.system.send(*messages, *messages[:3])

    def do(self, *messages: Message) -> None:
        """Send commands, and wait for their outcomes."""
        self.send(*messages)
        self.system.outcomes(messages)

    def in_turns(self, one: WorkerProcess, other: WorkerProcess, scene: Callable[[], None]) -> None:
        """Repeat a scenario until both workers have taken part in it."""
        self.workers += [one, other]
        before = [len(decided(each)) for each in (one, other)]

        def both() -> bool:
            scene()
            after = [len(decided(each)) for each in (one, other)]
            return all(n > m for n, m in zip(after, before, strict=True))

        eventually(both, 60, "a part for each worker")

    def rename(self) -> None:
        """Change each user by a command that every release knows."""
        names = [c.UpdateProfile(first_name=str(uuid4())) for _ in self.users]
        self.do(*[message(name, user) for name, user in zip(names, self.users, strict=True)])

    def stop(self, old: WorkerProcess) -> None:
        """Stop a worker while it handles commands."""
        names = [c.UpdateProfile(first_name=str(uuid4())) for _ in self.users]
        self.send(*[message(name, user) for name, user in zip(names, self.users, strict=True)])
        assert old.stop() == 0, old.log

    def formats(self) -> list[str]:
        """Return the format numbers of all stored users."""
        return [item["schema"]["N"] for item in self.user_items()]

    def grounds(self) -> dict[str, str]:
        """Return the stored grounds of bans by user."""
        bans = {i["user_id"]["S"]: i.get("ban", {"M": {}})["M"] for i in self.user_items()}
        return {user: ban["ground"]["S"] for user, ban in bans.items() if "ground" in ban}

    def user_items(self) -> list[dict[str, Any]]:
        """Read all users as they are stored."""
        client: Any = boto3.client("dynamodb", endpoint_url=self.system.endpoint)
        items = client.scan(TableName=self.system.names.table, ConsistentRead=True)["Items"]
        return [item for item in items if item["sk"] == {"S": "USER"}]

    def migrate(self) -> Progress:
        """Migrate the users to the format of the last release."""
        client = boto3.client("dynamodb", endpoint_url=self.system.endpoint)
        metered = MeteredTable(
            client, self.system.names.table, Bucket(1e6), Bucket(1e6), Retries(tries=10)
        )
        progress = Progress.start(2)
        pages = PageMigration(metered, KINDS_NEXT)
        Migration(metered, pages, progress, threading.Event()).run(lambda _: None)
        return progress


def newer_ban(user: str, ground: str) -> Message:
    """Create a command of the newer version."""
    command_id = str(uuid4())
    event = {"specversion": "1.0", "id": command_id, "source": "/test", "subject": user}
    data = {"ground": ground, "reason": "chargeback"}
    return Message(command_id, user, json.dumps({**event, "type": BanUserV2.type, "data": data}))


def test_no_command_waits_or_is_lost_while_a_format_changes_over_three_releases(
    system: System,
) -> None:
    """Old beside expanded, expanded beside next, next alone beside a migration.

    Commands of the older version are in flight all the time, and those of the newer version once
    the old workers have stopped. Data that only the newer format can represent is kept by every
    release that writes the user.
    """
    users = [str(uuid4()) for _ in range(USERS)]
    fraud, spam, quiet = users[:3], users[3:6], users[6:]
    rolling = Deployment(system, users)
    with rolling.release(OLD) as old:
        rolling.do(*[message(register(f"user-{user}"), user) for user in users])
        with rolling.release(EXPANDED) as expanded:
            rolling.in_turns(old, expanded, rolling.rename)
            rolling.do(*[message(c.BanUser("older", UNTIL), user) for user in spam])
            rolling.in_turns(old, expanded, rolling.rename)
            rolling.stop(old)
            assert set(rolling.formats()) == {"1"}
            rolling.do(*[newer_ban(user, "fraud") for user in fraud])
            assert rolling.grounds() == dict.fromkeys(fraud, "fraud")
            with rolling.release(NEXT) as newest:
                rolling.in_turns(expanded, newest, rolling.rename)
                rolling.do(*[message(c.BanUser("older"), user) for user in spam])
                rolling.in_turns(expanded, newest, rolling.rename)
                rolling.stop(expanded)
                migrated = rolling.migrate()
                outcomes = system.outcomes(rolling.sent, 60)
                eventually(system.queues.empty, what="an empty queue")
    assert migrated.counts.left == 0
    assert set(rolling.formats()) == {"2"}
    assert rolling.grounds() == dict.fromkeys(fraud, "fraud") | dict.fromkeys(spam, "other")
    assert len(quiet) == USERS - 6
    assert not any(put_off(each) & {"UnknownType", "Unreadable"} for each in rolling.workers)
    _assert_whole(rolling, outcomes)


def put_off(process: WorkerProcess) -> set[str]:
    """Return the reasons for which commands were retried."""
    return {line["code"] for line in log_lines(process) if line.get("outcome") == "later"}


def _assert_whole(rolling: Deployment, outcomes: Sequence[Outcome]) -> None:
    """Check that every command had one effect and its event, and that nothing is left over."""
    effects: dict[str | None, list[int]] = {}
    for each, outcome in zip(rolling.sent, outcomes, strict=True):
        assert (outcome.command_id, outcome.status) == (each.command_id, Status.ACCEPTED)
        numbers = [event.sequence for event in outcome.events if event.sequence is not None]
        effects.setdefault(each.user_id, []).extend(numbers)
    assert all(sorted(found) == list(range(1, len(found) + 1)) for found in effects.values())
    versions = {i["user_id"]["S"]: int(i["version"]["N"]) for i in rolling.user_items()}
    assert versions == {user: len(found) for user, found in effects.items()}
    rolling.system.published(outcomes)
    assert {event["id"] for event in rolling.system.events()} == event_ids(outcomes)
    assert rolling.system.queues.dead_letters(1, seconds=0) == []
