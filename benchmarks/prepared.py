"""The calls of this worker's handler for each command, recorded for the floor to replay."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import uuid4

from adapters.clock import SystemClock
from adapters.dynamodb.capacity import item_size, transaction_units, write_units
from adapters.dynamodb.change import new_entry
from adapters.dynamodb.outbox import DynamoDBOutbox
from adapters.dynamodb.reads import Key, key_of
from adapters.dynamodb.records import render_command_key, render_entry
from adapters.dynamodb.repository import DynamoDBUserRepository
from adapters.sns.publisher import SnsPublisher
from application.batch import BatchHandler, Ports
from application.disposition import Ack, ReceivedMessage
from application.event_topics import EventTopics
from application.messages import MessageParser
from application.ports import CommandKey, JobKind
from benchmarks.workload import (
    MIX,
    REGISTERING,
    UPDATING,
    Command,
    as_cloud_event,
    mix,
    register,
    update,
)
from worker.bootstrap import batch_policy
from worker.settings import Settings, personal_topic_of

SAMPLE = 200
ANSWERED = {"ResponseMetadata": {"RequestId": "recorded"}}


@dataclass(slots=True)
class Tape:
    """Replaces the clients of DynamoDB and SNS: records requests, and keeps the items."""

    items: dict[Key, Any] = field(default_factory=dict)
    keys: list[Any] = field(default_factory=list)
    actions: list[Any] = field(default_factory=list)
    entries: list[Any] = field(default_factory=list)
    personal_entries: list[Any] = field(default_factory=list)

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        """Record the keys; return the stored items."""
        [(table, wanted)] = request["RequestItems"].items()
        self.keys += wanted["Keys"]
        found = [self.items[key_of(k)] for k in wanted["Keys"] if key_of(k) in self.items]
        return {"Responses": {table: found}, **ANSWERED}

    def transact_write_items(self, **request: Any) -> dict[str, Any]:
        """Record all actions but the last, which writes the pointer, and keep the items."""
        self.actions += request["TransactItems"][:-1]
        for action in request["TransactItems"]:
            item = action["Put"]["Item"]
            self.items[key_of(item)] = item
        return ANSWERED

    def delete_item(self, **request: Any) -> dict[str, Any]:
        """Delete an item: the pointer."""
        del self.items[key_of(request["Key"])]
        return ANSWERED

    def publish_batch(self, **request: Any) -> dict[str, Any]:
        """Record the entries of each topic, except for their ids."""
        entries = request["PublishBatchRequestEntries"]
        personal = request["TopicArn"].endswith("-personal")
        recorded = self.personal_entries if personal else self.entries
        recorded += [{k: v for k, v in entry.items() if k != "Id"} for entry in entries]
        return {"Successful": [{"Id": entry["Id"]} for entry in entries]}


class Recorder:
    """Runs commands through this worker's own handler, on a tape, and keeps the users."""

    def __init__(self, table: str, topic_arn: str) -> None:
        tape: Any = Tape()
        self._tape = tape
        settings = Settings()
        self._handler = BatchHandler(
            Ports(
                DynamoDBUserRepository(tape, table),
                DynamoDBOutbox(tape, table),
                EventTopics(
                    SnsPublisher(tape, topic_arn),
                    SnsPublisher(tape, personal_topic_of(topic_arn)),
                ),
                SystemClock(),
            ),
            MessageParser(settings.roles),
            batch_policy(settings),
        )

    def record(self, commands: Iterable[Command]) -> dict[str, dict[str, Any]]:
        """Return the floor's data by command id; a repeated command has none of its own."""
        return {c.command_id: self._record(c) for c in commands if not c.repeated}

    def _record(self, command: Command) -> dict[str, Any]:
        tape = self._tape
        tape.keys, tape.actions, tape.entries, tape.personal_entries = [], [], [], []
        message = ReceivedMessage(
            message_id="m",
            body=as_cloud_event(command),
            receives=1,
            sent_at=time.time(),
            group_id=None,
            fifo=False,
        )
        assert self._handler.handle([message]).items == (Ack(),)
        name = render_command_key(CommandKey(command.user_id, command.command_id))
        return {
            "name": name,
            "keys": tape.keys,
            "actions": tape.actions,
            "entries": tape.entries,
            "personal_entries": tape.personal_entries,
        }


@cache
def own_units(workload: str) -> float:
    """Return the write units per command of a workload without the pointer, from a small sample."""
    users = register(SAMPLE)
    recorder = Recorder("sample", "arn:aws:sns:us-east-1:000000000000:sample")
    commands = {REGISTERING: users, UPDATING: update(users), MIX: mix(users, SAMPLE)}
    samples = {name: recorder.record(commands[name]) for name in commands}
    units = sum(
        transaction_units(item_size(action["Put"]["Item"]) for action in command["actions"])
        for command in samples[workload].values()
    )
    return units / SAMPLE


def units_a_command(workload: str, batch: float) -> float:
    """Return the write units per command, in transactions of `batch` commands.

    They are those of the commands' own items and of the pointer, which is written in the
    transaction and deleted after it: the more commands it names, the larger it is.
    """
    return own_units(workload) + _pointer_units(max(1, round(batch))) / batch


def _pointer_units(commands: int) -> int:
    keys = tuple(CommandKey(str(uuid4()), str(uuid4())) for _ in range(commands))
    entry = new_entry(JobKind.PUBLISH, keys, SystemClock().now())
    size = item_size(render_entry(entry))
    return transaction_units([size]) + write_units(size)
