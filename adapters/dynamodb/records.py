"""Render outcomes and outbox entries as items, and parse them.

An outcome's events are one compact JSON string, and an entry's commands are one string: each
attribute costs processor time in the client and bytes in DynamoDB, and no other program reads them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Final

from adapters.dynamodb import table
from adapters.dynamodb.attributes import Attributes, parse_timestamp, render_timestamp
from adapters.dynamodb.formats import OUTCOME_FORMAT, POINTER_FORMAT, SCHEMA, ItemFormat
from adapters.dynamodb.mapper import to_epoch
from adapters.dynamodb.reads import key_of
from application.ports import CommandKey, JobKind, OutboxEntry
from application.repository import Outcome, Status
from domain.errors import RejectionCode
from domain.events import RecordedEvent
from domain.values import render_time

if TYPE_CHECKING:
    from adapters.dynamodb.table import Item


_ORIGIN: Final = (
    "correlation_id",
    "traceparent",
    "tracestate",
    "actor",
    "producer",
    "principal",
)
"""Fields that state where a command came from, stored under their own names."""


# --- outcomes ------------------------------------------------------------------------------


def render_outcome(outcome: Outcome) -> Item:
    """Render an outcome under its user, or under its command id alone if there is no user."""
    item = _render_decision(outcome, outcome.user_id)
    item["events"] = {"S": render_events(outcome.events)}
    if outcome.by_email:
        item["by_email"] = {"BOOL": True}
    for name in _ORIGIN:
        if (text := getattr(outcome, name)) is not None:
            item[name] = {"S": text}
    return OUTCOME_FORMAT.written(item, parse_outcome)


def render_reference(outcome: Outcome) -> Item:
    """Render the reference of a command by e-mail address: the user it was about.

    It is stored under the command id alone. A redelivery is recognised by it if the address has a
    new owner since. The events are in the user's record only.
    """
    item = _render_decision(outcome, None)
    item["by_email"] = {"BOOL": True}
    if outcome.user_id is not None:
        item["user_id"] = {"S": outcome.user_id}
    return OUTCOME_FORMAT.written(item, parse_outcome)


def _render_decision(outcome: Outcome, under: str | None) -> Item:
    item = table.outcome_key(under, outcome.command_id)
    item[SCHEMA] = {"N": str(OUTCOME_FORMAT.number)}
    item["command_type"] = {"S": outcome.command_type}
    item["fingerprint"] = {"S": outcome.lasting_fingerprint}
    item["status"] = {"S": outcome.status.value}
    item["version"] = {"N": str(outcome.version)}
    item["recorded_at"] = {"S": render_timestamp(outcome.recorded_at)}
    item[table.TTL_ATTRIBUTE] = {"N": to_epoch(outcome.expires_at)}
    item["source"] = {"S": outcome.source}
    if outcome.code is not None:
        item["code"] = {"S": outcome.code.value}
    return item


def parse_outcome(item: Item, item_format: ItemFormat = OUTCOME_FORMAT) -> Outcome:
    """Parse an outcome. One under a command id alone that names a user is a reference: no events.

    Raises:
        MalformedItemError: the item is invalid.
    """
    read = item_format.read(item)
    partition = read.text(table.PARTITION_KEY)
    under_user = partition.startswith(table.USER_PREFIX)
    code = read.optional_text("code")
    events = read.optional_text("events")
    return Outcome(
        command_id=read.text(table.SORT_KEY).removeprefix(table.COMMAND_PREFIX),
        command_type=read.text("command_type"),
        user_id=(
            partition.removeprefix(table.USER_PREFIX)
            if under_user
            else read.optional_text("user_id")
        ),
        by_email=read.flag("by_email"),
        fingerprint=read.text("fingerprint"),
        status=_parse_status(read),
        code=None if code is None else _parse_code(read, code),
        events=() if events is None else parse_events(read, events),
        version=read.integer("version"),
        recorded_at=read.time("recorded_at"),
        expires_at=read.epoch(table.TTL_ATTRIBUTE),
        source=read.text("source"),
        **{name: read.optional_text(name) for name in _ORIGIN},
    )


def scrubbed(item: Item) -> Item | None:
    """Return an outcome's item without personal data, in the format to store.

    Returns `None` if it needs no change: it was scrubbed before, or decided after the erasure.

    Raises:
        MalformedItemError: the item is invalid.
    """
    outcome = parse_outcome(item)
    if not outcome.fingerprint:
        return None
    new: Item = {**OUTCOME_FORMAT.upcast(item), "fingerprint": {"S": ""}}
    if "events" in new:
        new["events"] = {"S": render_events(e.without_personal_data() for e in outcome.events)}
    return OUTCOME_FORMAT.written(new, parse_outcome)


def outcome_key_of(item: Item) -> CommandKey:
    """Return the key of an outcome from its item."""
    partition, sort = key_of(item)
    command_id = sort.removeprefix(table.COMMAND_PREFIX)
    if partition.startswith(table.USER_PREFIX):
        return CommandKey(partition.removeprefix(table.USER_PREFIX), command_id)
    return CommandKey(None, command_id)


def _parse_status(read: Attributes) -> Status:
    try:
        return Status(read.text("status"))
    except ValueError:
        raise read.malformed("status", "is unknown to this worker") from None


def _parse_code(read: Attributes, code: str) -> RejectionCode:
    try:
        return RejectionCode(code)
    except ValueError:
        raise read.malformed("code", "is unknown to this worker") from None


# --- events --------------------------------------------------------------------------------


def render_events(events: Iterable[RecordedEvent]) -> str:
    """Render events as a JSON list of [type, category, sequence, data]."""
    rows = [(event.type, event.category, event.sequence, event.data) for event in events]
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False)


def parse_events(read: Attributes, text: str) -> tuple[RecordedEvent, ...]:
    """Parse the result of `render_events`.

    Raises:
        MalformedItemError: the text is not such a list.
    """
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        rows = None
    if not isinstance(rows, list):
        raise read.malformed("events", "must be a JSON list")
    return tuple(_parse_event(read, row) for row in rows)


def _parse_event(read: Attributes, row: object) -> RecordedEvent:
    match row:
        case [str(kind), str(category), None | int() as sequence, dict(data)]:
            return RecordedEvent(kind, category, sequence, data)
    raise read.malformed("events", "must contain [type, category, sequence, data]")


# --- outbox entries ------------------------------------------------------------------------


def render_entry(entry: OutboxEntry) -> Item:
    """Render an outbox entry."""
    item = table.key(entry.partition, entry.sort_key)
    item[SCHEMA] = {"N": str(POINTER_FORMAT.number)}
    item["kind"] = {"S": entry.kind.value}
    item["commands"] = {"S": " ".join(render_command_key(key) for key in entry.commands)}
    if entry.parked_because is not None:
        item["parked_because"] = {"S": entry.parked_because}
    if entry.attempts:
        item["attempts"] = {"N": str(entry.attempts)}
    if entry.touched_at is not None:
        item["touched_at"] = {"S": render_timestamp(entry.touched_at)}
    if entry.position is not None:
        item["position"] = {"S": entry.position}
    if entry.unreadable:
        item["unreadable"] = {"N": str(entry.unreadable)}
    if entry.final:
        item["final"] = {"BOOL": True}
    if entry.address is not None:
        item["address"] = {"S": entry.address}
    return POINTER_FORMAT.written(item, parse_entry)


def render_command_key(key: CommandKey) -> str:
    """Render a command's key compactly: `<user id>/<command id>`, or `/<command id>`."""
    return f"{key.user_id or ''}/{key.command_id}"


def render_sort_key(recorded_at: datetime, unique: str) -> str:
    """Render the sort key of an entry: an older entry sorts first."""
    return f"{render_time(recorded_at)}#{unique}"


def parse_entry(item: Item, item_format: ItemFormat = POINTER_FORMAT) -> OutboxEntry:
    """Parse an outbox entry.

    Raises:
        MalformedItemError: the item is invalid.
    """
    read = item_format.read(item)
    try:
        kind = JobKind(read.text("kind"))
    except ValueError:
        raise read.malformed("kind", "is unknown to this worker") from None
    return OutboxEntry(
        partition=read.text(table.PARTITION_KEY),
        sort_key=read.text(table.SORT_KEY),
        kind=kind,
        commands=tuple(_parse_command_key(read, word) for word in read.words("commands")),
        recorded_at=entry_time(item),
        parked_because=read.optional_text("parked_because"),
        attempts=read.integer("attempts", 0),
        touched_at=read.optional_time("touched_at"),
        position=read.optional_text("position") or None,  # a query needs a sort key
        unreadable=read.integer("unreadable", 0),
        final=read.flag("final"),
        address=read.optional_text("address"),
    )


def _parse_command_key(read: Attributes, word: str) -> CommandKey:
    user_id, slash, command_id = word.partition("/")
    if not slash or not command_id:
        raise read.malformed("commands", "must contain <user id>/<command id>")
    return CommandKey(user_id or None, command_id)


def entry_time(item: Item) -> datetime:
    """Return when an entry was recorded, from its key alone.

    Raises:
        MalformedItemError: the sort key does not start with a time.
    """
    read = Attributes(POINTER_FORMAT.kind, item)
    time = parse_timestamp(read.text(table.SORT_KEY).partition("#")[0])
    if time is None:
        raise read.malformed(table.SORT_KEY, "must start with a time with offset")
    return time
