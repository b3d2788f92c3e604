"""Render one change as actions of a transaction, with the meaning of each failed condition."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from random import randrange
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from adapters.dynamodb import mapper, records, table
from adapters.dynamodb.capacity import item_size
from adapters.dynamodb.reads import Key, key_of
from application.outbox import SHARDS
from application.ports import CommandKey, JobKind, OutboxEntry
from application.repository import Conflict, UserChange
from domain.values import EmailAddress

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

    from adapters.dynamodb.table import Item

ABSENT: Final = "attribute_not_exists(pk)"
SAME_VERSION: Final = "version = :v"
SAME_REVISION: Final = "revision = :r"
SAME_OWNER: Final = "user_id = :u"


@dataclass(slots=True)
class Write:
    """A rendered change."""

    table: str
    index: int
    """The index of the change in the call to commit."""
    commands: tuple[CommandKey, ...]
    actions: list[TransactWriteItemTypeDef] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    """For each action, the conflict to report if its condition fails."""
    keys: set[Key] = field(default_factory=set)
    size: int = 0
    """Approximate size in bytes."""

    def put(
        self,
        item: Item,
        conflict: Conflict,
        condition: str | None = ABSENT,
        values: Item | None = None,
    ) -> None:
        """Add an action that puts an item; without a condition, it replaces any other one."""
        action: TransactWriteItemTypeDef = {"Put": {"TableName": self.table, "Item": item}}
        if condition is not None:
            action["Put"]["ConditionExpression"] = condition
        if values is not None:
            action["Put"]["ExpressionAttributeValues"] = values
        self._add(action, item, conflict)

    def put_revised(self, item: Item, revision: int) -> None:
        """Add an action that puts an item whose revision was read; 0: it did not exist."""
        if revision == 0:
            self.put(item, Conflict.STALE)
        else:
            self.put(item, Conflict.STALE, SAME_REVISION, _revision(revision))

    def delete(self, key: Item, conflict: Conflict, condition: str, values: Item) -> None:
        """Add an action that deletes an item."""
        action: TransactWriteItemTypeDef = {
            "Delete": {
                "TableName": self.table,
                "Key": key,
                "ConditionExpression": condition,
                "ExpressionAttributeValues": values,
            }
        }
        self._add(action, key, conflict)

    def delete_if_stored(self, key: Item, conflict: Conflict) -> None:
        """Add an action that deletes an item, or has no effect."""
        self._add({"Delete": {"TableName": self.table, "Key": key}}, key, conflict)

    def _add(self, action: TransactWriteItemTypeDef, item: Item, conflict: Conflict) -> None:
        self.actions.append(action)
        self.conflicts.append(conflict)
        self.keys.add(key_of(item))
        self.size += item_size(item)


def render_change(table_name: str, index: int, change: UserChange, now: datetime) -> Write:
    """Render everything that a change writes, one action per item."""
    commands = tuple(CommandKey(each.user_id, each.command_id) for each in change.outcomes)
    write = Write(table_name, index, commands)
    _outcomes(write, change)
    if change.user_id is not None:
        _user(write, change)
        _sessions(write, change.user_id, change)
        _two_factor(write, change.user_id, change)
        _addresses(write, change.user_id, change)
        if change.scrub:
            job = new_entry(JobKind.SCRUB, write.commands[-1:], now, change.held)
            write.put(records.render_entry(job), Conflict.CONTENTION)
    return write


def new_entry(
    kind: JobKind,
    commands: tuple[CommandKey, ...],
    now: datetime,
    held: EmailAddress | None = None,
) -> OutboxEntry:
    """Create an outbox entry in a random shard."""
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)  # as in its sort key
    return OutboxEntry(
        partition=table.outbox_partition(randrange(SHARDS)),  # noqa: S311 - no secret
        sort_key=records.render_sort_key(now, str(uuid4())),
        kind=kind,
        commands=commands,
        recorded_at=now,
        address=None if held is None else held.key,
    )


def _outcomes(write: Write, change: UserChange) -> None:
    for outcome in change.outcomes:
        write.put(records.render_outcome(outcome), Conflict.DUPLICATE)
        if outcome.by_email and outcome.user_id is not None:
            write.put(records.render_reference(outcome), Conflict.DUPLICATE)


def _user(write: Write, change: UserChange) -> None:
    if change.user is None:
        return
    item = mapper.render_user(change.user)
    if change.read_version == 0:
        write.put(item, Conflict.STALE)
    else:
        version: Item = {":v": {"N": str(change.read_version)}}
        write.put(item, Conflict.STALE, SAME_VERSION, version)


def _sessions(write: Write, user_id: str, change: UserChange) -> None:
    for session in change.saved_sessions:
        item = mapper.render_session(user_id, replace(session, revision=session.revision + 1))
        write.put_revised(item, session.revision)
    for session in change.removed_sessions:
        if session.revision:  # a session with revision 0 was never stored
            key = table.session_key(user_id, session.session_id)
            write.delete(key, Conflict.STALE, SAME_REVISION, _revision(session.revision))


def _two_factor(write: Write, user_id: str, change: UserChange) -> None:
    saved, removed = change.saved_two_factor, change.removed_two_factor
    if saved is not None:
        item = mapper.render_two_factor(user_id, replace(saved, revision=saved.revision + 1))
        write.put_revised(item, saved.revision)
    elif removed is not None and removed.revision:
        key = table.two_factor_key(user_id)
        write.delete(key, Conflict.STALE, SAME_REVISION, _revision(removed.revision))


def _revision(revision: int) -> Item:
    return {":r": {"N": str(revision)}}


def _addresses(write: Write, user_id: str, change: UserChange) -> None:
    claimed, released = change.claimed, change.released
    owner: Item = {":u": {"S": user_id}}
    if claimed is not None and released is not None and claimed.key == released.key:
        return  # another spelling of the same address: its item does not change
    if claimed is not None:
        write.put(mapper.render_address(claimed, user_id), Conflict.ADDRESS_TAKEN)
    if released is not None:
        key = table.address_key(released.key)
        write.delete(key, Conflict.ADDRESS_TAKEN, SAME_OWNER, owner)
    if change.held is not None:
        item = mapper.render_address(change.held, user_id, held=True)
        write.put(item, Conflict.ADDRESS_TAKEN, SAME_OWNER, owner)
    if change.banned is not None:
        write.put(mapper.render_banned(change.banned), Conflict.STALE, condition=None)
    if change.unbanned is not None:
        write.delete_if_stored(table.banned_key(change.unbanned), Conflict.STALE)
