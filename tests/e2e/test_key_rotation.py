"""Rotate the hash keys while two workers process commands, duplicates and reused command ids.

Commands always wait during the rotation, and two workers are killed in the middle of their batches.
"""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Self
from uuid import uuid4

import boto3
import pytest

from application.key_ring import key_id
from application.repository import Status
from domain import commands as c
from tests.builders import register
from tests.e2e.system import THREADS, Message, System, decided, message
from tests.e2e.worker_process import WorkerProcess, eventually

pytestmark = [pytest.mark.embedded]

OLD, NEW = "o" * 32, "n" * 32
USERS: Final = 12
LAG: Final = 3
"""Number of waves that are sent and not decided yet, so that the queue does not run empty."""
STOLEN: Final = "Stolen"
"""The first name in every message that reuses the id of another command."""


@dataclass
class Stream:
    """Sends commands in waves, each with duplicates and reused ids of commands decided before."""

    system: System
    users: list[str]
    sent: list[Message] = field(default_factory=list)
    decided: list[Message] = field(default_factory=list)
    duplicates: int = 0
    reused: list[Message] = field(default_factory=list)
    error: BaseException | None = None
    _waves: deque[list[Message]] = field(default_factory=deque)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                self.wave()
        except BaseException as error:  # noqa: BLE001 - raised by the test
            self.error = error

    def wave(self) -> None:
        """Send a command to each user, and repeat ids of this wave and of all decided ones."""
        before = self.decided[:: max(1, len(self.decided) // 12)]
        fresh = [message(c.UpdateProfile(first_name=str(uuid4())), user) for user in self.users]
        again = [*before, *fresh[:3]]
        reused = [_other(each) for each in before]
        self.system.send(*fresh, *again, *reused)
        self.duplicates += len(again)
        self.reused += reused
        self.sent += fresh
        self._waves.append(fresh)
        if len(self._waves) > LAG:
            oldest = self._waves.popleft()
            self.system.outcomes(oldest, 60)
            self.decided += oldest


def _other(original: Message) -> Message:
    """Return another command with the id of a command."""
    event = json.loads(original.body)
    event["data"]["first_name"] = STOLEN
    return replace(original, body=json.dumps(event))


@pytest.fixture
def brief(aws_endpoint: str, tmp_path: Path) -> Iterator[System]:
    """A system to which the messages of a killed worker soon return."""
    system = System.create(aws_endpoint, tmp_path, visibility_timeout=5)
    yield system
    system.delete()


def run(
    system: System, keys: tuple[str, ...], **settings: str
) -> AbstractContextManager[WorkerProcess]:
    """Run a worker with keys, and with the smallest batches, so that two workers share."""
    return system.worker(THREADS, HASH_KEYS=",".join(keys), BATCH_SIZE="10", **settings)


def under_load(stream: Stream) -> None:
    """Wait until more commands wait or are in flight than one worker has in its batches."""
    eventually(lambda: sum(stream.system.queues.depth()) > 2 * USERS, 60, "waiting commands")
    assert stream.error is None


def kill(worker: WorkerProcess) -> None:
    """Kill a worker while it processes batches."""
    worker.send_signal(signal.SIGKILL, group=True)
    assert worker.process.wait(10) == -signal.SIGKILL


def both_take_part(stream: Stream, *workers: WorkerProcess) -> None:
    """Wait until each worker has recognised duplicates and reused ids since now."""

    def recognised(each: WorkerProcess) -> Counter[str]:
        return Counter(line["outcome"] for line in decided(each))

    before = [recognised(each) for each in workers]

    def all_have() -> bool:
        assert stream.error is None
        new = [recognised(w) - b for w, b in zip(workers, before, strict=True)]
        return all({"accepted", "duplicate", "dead"} <= found.keys() for found in new)

    eventually(all_have, 60, "a duplicate and a reused id for each worker")


def fingerprints(system: System) -> Counter[str]:
    """Count the stored fingerprints by key id."""
    client: Any = boto3.client("dynamodb", endpoint_url=system.endpoint)
    pages = client.get_paginator("scan").paginate(TableName=system.names.table)
    items = [item for page in pages for item in page["Items"] if "fingerprint" in item]
    assert {item["schema"]["N"] for item in items} == {"2"}
    return Counter(item["fingerprint"]["S"].partition(":")[0] for item in items)


BRIEF = {"VISIBILITY_TIMEOUT": "5"}


@pytest.mark.timeout(240)
def test_no_duplicate_is_applied_and_no_reused_id_is_accepted_while_keys_rotate(
    brief: System,
) -> None:
    """Keys go from OLD to OLD,NEW to NEW,OLD; two workers at neighbouring steps run at a time.

    The first worker and the last one are killed under load, and the last one is started again.
    """
    system, users = brief, [str(uuid4()) for _ in range(USERS)]
    registered = [message(register(f"user-{user}"), user) for user in users]
    with run(system, (OLD,), **BRIEF) as old:
        system.do(*registered)
        with Stream(system, users) as stream, run(system, (OLD, NEW), **BRIEF) as added:
            both_take_part(stream, old, added)
            under_load(stream)
            kill(old)
            both_take_part(stream, added)
            with run(system, (NEW, OLD), **BRIEF) as moved:
                both_take_part(stream, added, moved)
                under_load(stream)
                assert added.stop() == 0, added.log
                both_take_part(stream, moved)
                under_load(stream)
                kill(moved)
            with run(system, (NEW, OLD), **BRIEF) as again:
                both_take_part(stream, again)
                stream.__exit__()
                assert stream.error is None
                outcomes = system.outcomes([*registered, *stream.sent], 60)
                eventually(system.queues.empty, 60, "an empty queue")
                letters = system.queues.dead_letters(len(stream.reused), 60)
                letters += system.queues.dead_letters(len(letters), seconds=2)  # further copies
    assert {outcome.status for outcome in outcomes} == {Status.ACCEPTED}
    _assert_all_were_recognised(stream, [old, added, moved, again], letters)
    for user in users:
        mine = [o for o in outcomes if o.user_id == user]
        numbers = [event.sequence for outcome in mine for event in outcome.events]
        assert sorted(numbers, key=lambda n: n or 0) == list(range(1, len(numbers) + 1))
        assert system.user(user).version == len(numbers)
        assert system.user(user).first_name != STOLEN
    stored = fingerprints(system)
    assert stored.keys() == {key_id(OLD.encode()), key_id(NEW.encode())}
    assert stored.total() == len(outcomes)


def _assert_all_were_recognised(
    stream: Stream, workers: list[WorkerProcess], letters: list[dict[str, Any]]
) -> None:
    found = Counter(line["outcome"] for each in workers for line in decided(each))
    # a worker that ends leaves messages, which are received again: never fewer than sent
    assert found["duplicate"] >= stream.duplicates
    attributes = [each["MessageAttributes"] for each in letters]
    assert {each["error_code"]["StringValue"] for each in attributes} == {"CommandIdReused"}
    # a worker that is killed may have sent a letter without deleting its message
    of_messages = {
        each["MessageAttributes"]["original_message_id"]["StringValue"]: each["Body"]
        for each in letters
    }
    assert sorted(json.loads(body)["id"] for body in of_messages.values()) == sorted(
        each.command_id for each in stream.reused
    )


def _has_decided(process: WorkerProcess, count: int) -> bool:
    return len(decided(process)) >= count


def test_a_worker_without_a_retired_key_takes_a_known_id_for_a_duplicate(system: System) -> None:
    """It cannot compare the commands, so the id decides: nothing is applied or dead-lettered."""
    user = str(uuid4())
    first = message(register(f"user-{user}"), user)
    change = message(c.UpdateProfile(first_name="Grace"), user)
    with run(system, (OLD,)) as old:
        system.do(first)
        system.do(change)
        assert old.stop() == 0, old.log
    with run(system, (NEW,)) as without:
        for count, each in enumerate([change, _other(change)], 1):  # in a batch they are compared
            system.send(each)
            wanted = partial(_has_decided, without, count)
            eventually(wanted, what="a decision")
        eventually(system.queues.empty, what="an empty queue")
    assert [line["outcome"] for line in decided(without)] == ["duplicate", "duplicate"]
    assert system.queues.dead_letters(1, seconds=0) == []
    assert (system.user(user).first_name, system.user(user).version) == ("Grace", 2)
