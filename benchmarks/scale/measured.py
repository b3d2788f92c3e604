"""What a command uses of AWS, counted on the requests that this worker's own handler makes.

A tape that keeps the items and counts replaces DynamoDB and SNS; `adapters.dynamodb.capacity`
computes sizes and units. Nothing is estimated, and nothing is sent.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from structlog.testing import capture_logs

from adapters.dynamodb import table
from adapters.dynamodb.capacity import item_size, transaction_units, write_units
from adapters.dynamodb.outbox import DynamoDBOutbox
from adapters.dynamodb.reads import Key, key_of
from adapters.dynamodb.repository import DynamoDBUserRepository
from adapters.sns.publisher import SnsPublisher
from application.batch import BatchHandler, Ports
from application.disposition import Ack, ReceivedMessage
from application.event_topics import EventTopics
from application.messages import MessageParser, render_command
from application.messages.commands import command_data
from application.ports import Clock
from benchmarks.workload import PASSWORD_HASH
from domain import commands as c
from domain.values import EmailAddress, PasswordHash, TokenHash
from worker.bootstrap import batch_policy
from worker.settings import Settings, personal_topic_of

REGISTRATION, UPDATE, LOGIN, ROTATION = "registration", "profile update", "login", "token rotation"
KINDS: Final = (REGISTRATION, UPDATE, LOGIN, ROTATION)
READ_UNIT: Final = 4096
"""Bytes of one strongly consistent read unit; an item, present or not, costs whole units."""
ITEM_OVERHEAD: Final = 100
"""Bytes that DynamoDB adds to an item for its storage bill (Developer Guide, pricing)."""
NOW: Final = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TOPIC: Final = "arn:aws:sns:us-east-1:000000000000:user-events"
_ANSWERED: Final = {"ResponseMetadata": {"RequestId": "counted"}}


class Standing(Clock):
    """A clock that stands still, so that a size never changes from one run to the next."""

    def now(self) -> datetime:
        """Return the same time always."""
        return NOW


@dataclass(slots=True)
class Tape:
    """Replaces the clients of DynamoDB and SNS: keeps the items, counts everything else."""

    items: dict[Key, Any] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    read_units: int = 0
    write_units: int = 0
    pointer_units: int = 0
    published: list[int] = field(default_factory=list)
    """Bytes of each event, with its attributes."""

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        """Return the stored items; a missing item is billed as a small one."""
        self.calls["BatchGetItem"] += 1
        [(name, wanted)] = request["RequestItems"].items()
        found = [self.items[key_of(k)] for k in wanted["Keys"] if key_of(k) in self.items]
        self.read_units += len(wanted["Keys"]) - len(found)
        self.read_units += sum(-(-item_size(item) // READ_UNIT) for item in found)
        return {"Responses": {name: found}, **_ANSWERED}

    def transact_write_items(self, **request: Any) -> dict[str, Any]:
        """Store items, and count added, removed and replaced index entries."""
        self.calls["TransactWriteItems"] += 1
        for action in request["TransactItems"]:
            item = action["Put"]["Item"]
            units = transaction_units([item_size(item)]) + self._index_units(item)
            self.write_units += units
            self.pointer_units += units if is_entry(item) else 0
            self.items[key_of(item)] = item
        return _ANSWERED

    def delete_item(self, **request: Any) -> dict[str, Any]:
        """Delete an item: the pointer."""
        self.calls["DeleteItem"] += 1
        units = write_units(item_size(self.items.pop(key_of(request["Key"]))))
        self.write_units += units
        self.pointer_units += units
        return _ANSWERED

    def publish_batch(self, **request: Any) -> dict[str, Any]:
        """Publish every event."""
        self.calls["PublishBatch"] += 1
        entries = request["PublishBatchRequestEntries"]
        self.published += [_event_bytes(entry) for entry in entries]
        return {"Successful": [{"Id": entry["Id"]} for entry in entries]}

    def _index_units(self, item: Any) -> int:
        """Return the units of the index: its key, the family, is written once for a session."""
        return int(table.REFRESH_FAMILY_HASH in item and key_of(item) not in self.items)


def is_entry(item: Any) -> bool:
    """Return True for an item of the outbox."""
    partition: str = item["pk"]["S"]
    return partition.startswith("OUTBOX#")


def _event_bytes(entry: Any) -> int:
    attributes = entry.get("MessageAttributes", {}).items()
    return len(entry["Message"]) + sum(
        len(name) + len("String") + len(value["StringValue"]) for name, value in attributes
    )


def _line_bytes(line: Any) -> int:
    logged = {"logger": "worker.command", "timestamp": "2026-11-23T12:00:00.000000Z"}
    return len(json.dumps({**line, "duration_ms": 12.3, **logged})) + 1


@dataclass(frozen=True, slots=True)
class Footprint:
    """Usage of one command of a kind, in batches of a size; means over the batch."""

    kind: str
    batch: int
    calls: dict[str, float]
    """By operation, including the queue's: SendMessage, ReceiveMessage, DeleteMessageBatch."""
    read_units: float
    write_units: float
    pointer_units: float
    """Write units that go to a shard of the outbox."""
    message_bytes: float
    event_bytes: float
    outcome_bytes: float
    """Of the outcome's item, which is kept for `USER_WORKER_OUTCOME_DAYS`."""
    log_bytes: float
    """Of the command's line in the log, in JSON."""

    @property
    def worker_calls(self) -> float:
        """Return the worker's own calls, without the producer's."""
        return sum(self.calls.values()) - self.calls["SendMessage"]


class Bench:
    """This worker's batch handler on a tape, with its own users."""

    def __init__(self) -> None:
        self.tape = Tape()
        tape: Any = self.tape
        settings = Settings()
        ports = Ports(
            DynamoDBUserRepository(tape, "users"),
            DynamoDBOutbox(tape, "users"),
            EventTopics(SnsPublisher(tape, TOPIC), SnsPublisher(tape, personal_topic_of(TOPIC))),
            Standing(),
        )
        self._handler = BatchHandler(ports, MessageParser(settings.roles), batch_policy(settings))

    def footprint(self, kind: str, batch: int) -> Footprint:
        """Measure a batch of one kind, each command for another user."""
        for earlier in KINDS[: KINDS.index(kind)]:
            self._handle([_body(earlier, number) for number in range(batch)])
        known = set(self.tape.items)
        tape = self.tape
        tape.calls.clear()
        tape.read_units = tape.write_units = tape.pointer_units = 0
        tape.published.clear()
        bodies = [_body(kind, number) for number in range(batch)]
        lines = self._handle(bodies)
        receives = -(-batch // 10)
        calls = {**tape.calls, "ReceiveMessage": receives, "DeleteMessageBatch": receives}
        outcomes = [
            item_size(item)
            for key, item in tape.items.items()
            if key not in known and item["sk"]["S"].startswith(table.COMMAND_PREFIX)
        ]
        return Footprint(
            kind,
            batch,
            {"SendMessage": 1.0, **{name: count / batch for name, count in calls.items()}},
            tape.read_units / batch,
            tape.write_units / batch,
            tape.pointer_units / batch,
            sum(map(len, bodies)) / batch,
            sum(tape.published) / batch,
            sum(outcomes) / batch,
            sum(map(_line_bytes, lines)) / batch,
        )

    def _handle(self, bodies: Sequence[str]) -> list[Any]:
        """Handle bodies as one batch; return the log lines."""
        messages = [
            ReceivedMessage(
                message_id=str(number),
                body=body,
                receives=1,
                sent_at=NOW.timestamp(),
                group_id=None,
                fifo=False,
            )
            for number, body in enumerate(bodies)
        ]
        with capture_logs() as lines:
            assert self._handler.handle(messages).items == (Ack(),) * len(bodies)
        assert [line["outcome"] for line in lines] == ["accepted"] * len(bodies)
        return lines

    def stored_bytes(self) -> dict[str, float]:
        """Return the mean size of each kind of item, as storage is billed."""
        sizes: dict[str, list[int]] = {}
        for item in self.tape.items.values():
            name = item["sk"]["S"].partition("#")[0].lower()
            sizes.setdefault(name, []).append(item_size(item) + ITEM_OVERHEAD)
        return {name: sum(each) / len(each) for name, each in sizes.items()}


@cache
def footprint(kind: str, batch: int) -> Footprint:
    """Measure one kind in batches of one size."""
    return Bench().footprint(kind, batch)


@cache
def stored_bytes() -> dict[str, float]:
    """Return the mean size of user, email (an address), session and command (an outcome)."""
    bench = Bench()
    bench.footprint(ROTATION, 20)
    return bench.stored_bytes()


# --- commands ------------------------------------------------------------------------------


def _id(*names: object) -> str:
    return str(uuid5(NAMESPACE_URL, json.dumps(names)))


def _hash(number: int, turn: int) -> TokenHash:
    return TokenHash(f"{_id('token', number, turn)}{_id('more', number, turn)}".replace("-", ""))


def _body(kind: str, number: int) -> str:
    command = _command(kind, number)
    return render_command(
        command.type,
        command_data(command),
        command_id=_id("command", kind, number),
        source="/scale",
        user_id=_id("user", number),
    )


def _command(kind: str, number: int) -> c.Command:
    session = _id("session", number)
    expiry = NOW + timedelta(days=30)
    match kind:
        case "registration":
            address = EmailAddress.parse(f"katherine.{number:06}@example.com")
            return c.RegisterUser(
                address,
                "Katherine",
                PasswordHash.parse(PASSWORD_HASH),
                last_name="Lovelace",
            )
        case "profile update":
            return c.UpdateProfile(f"Ada{number:06}")
        case "login":
            return c.StartSession(session, _hash(number, 0), _hash(number, 1), expiry, 1, ("pwd",))
        case _:
            hashes = (_hash(number, part) for part in range(3))
            return c.RotateRefreshToken(session, *hashes, expiry)


def index_entry_bytes() -> int:
    """Return the stored size of a session's entry in the index: its keys, and the token's hash."""
    key = table.session_key(_id("user", 0), _id("session", 0))
    entry = {**key, table.REFRESH_FAMILY_HASH: {"S": "0" * 64}}
    return item_size(entry) + ITEM_OVERHEAD
